//! Expressions as the catalogues keep them parsed (`pg_node_tree`). Reading one runs nothing, and takes no lock.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_int, c_void};
use std::ptr;

use pgrx::pg_sys::NodeTag;
use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::{IntoDatum, direct_function_call_as_datum, pg_sys};

use super::datum::{text, text_array, text_datum};
use super::list::nodes;
use super::privilege::is_of_the_system;

type Walker = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool;
type Mutator = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> *mut pg_sys::Node;

// Without pgrx's guard: an error within a walk passes over the frames of the callbacks, which have nothing to drop, to the
// one guard around the walk. A guard at each level would report the error anew at each.
unsafe extern "C-unwind" {
    #[cfg_attr(not(any(feature = "pg14", feature = "pg15")), link_name = "expression_tree_walker_impl")]
    fn expression_tree_walker(node: *mut pg_sys::Node, walker: Walker, context: *mut c_void) -> bool;
    #[cfg_attr(not(any(feature = "pg14", feature = "pg15")), link_name = "query_tree_walker_impl")]
    fn query_tree_walker(query: *mut pg_sys::Query, walker: Walker, context: *mut c_void, flags: c_int) -> bool;
    #[cfg_attr(not(any(feature = "pg14", feature = "pg15")), link_name = "expression_tree_mutator_impl")]
    fn expression_tree_mutator(node: *mut pg_sys::Node, mutator: Mutator, context: *mut c_void) -> *mut pg_sys::Node;
    #[cfg_attr(not(any(feature = "pg14", feature = "pg15")), link_name = "query_tree_mutator_impl")]
    fn query_tree_mutator(
        query: *mut pg_sys::Query,
        mutator: Mutator,
        context: *mut c_void,
        flags: c_int,
    ) -> *mut pg_sys::Query;
}

/// A node of a parsed expression, in the memory context that was the current one when it was read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Expression(*mut pg_sys::Node);

/// A node among those of a tree in the order from above.
#[derive(Clone, Copy)]
pub struct Part {
    /// The node.
    pub node: Expression,
    /// The index behind the last node below this one.
    pub end: usize,
}

/// What a node is, as far as it matters what a policy says.
pub enum Shape {
    /// A function or operator and its arguments.
    Call(pg_sys::Oid, Vec<Expression>),
    /// A constant's texts: one of type text, or the elements of a text[]. None for other types, and for NULL.
    Constant(Vec<Vec<u8>>),
    /// `ARRAY[...]`.
    Elements(Vec<Expression>),
    /// `value[...]`, with what is in the brackets.
    Subscripts(Expression, Vec<Expression>),
    /// A cast, or the first argument of COALESCE or NULLIF: what has the value of another expression, if that has one.
    Same(Expression),
    /// `(SELECT expression)` without a table; [`Expression::subquery_of`] makes one.
    Once(Expression),
    /// Another subquery; whether it reads a table.
    Subquery { has_tables: bool },
    /// The current or session user or role.
    Role,
    /// A column, or something else that differs from row to row.
    Row,
    /// A list or an arm of CASE, which is no expression by itself.
    Part,
    /// Another expression that is the same where its parts are.
    Other,
    /// Anything else.
    Unknown,
}

impl Expression {
    /// Reads a value of type `pg_node_tree`; `None` for an empty one, as views' rules have. Raises if it is none.
    ///
    /// # Safety
    ///
    /// The value must be one that PostgreSQL made.
    pub unsafe fn parse(tree: pg_sys::Datum) -> Option<Self> {
        // SAFETY: the caller promises the value, which is laid out as text, and has no NUL.
        unsafe {
            let text = CString::new(text(tree)).unwrap_or_default();
            let node: *mut pg_sys::Node = pg_sys::stringToNode(text.as_ptr()).cast();
            (!node.is_null()).then_some(Self(node))
        }
    }

    /// As SQL, a text, for an expression about the rows of this relation; `None` if that is gone.
    pub fn text(self, relation: pg_sys::Oid) -> Option<pg_sys::Datum> {
        // SAFETY: a node, written as a C string; the function takes a pg_node_tree, which is laid out as a text, and an OID,
        // and returns a text.
        unsafe {
            let tree = text_datum(CStr::from_ptr(pg_sys::nodeToString(self.0.cast())).to_bytes());
            direct_function_call_as_datum(pg_sys::pg_get_expr, &[Some(tree), relation.into_datum()])
        }
    }

    /// What the node is.
    pub fn shape(self) -> Shape {
        // SAFETY: a node's tag says which struct it is.
        unsafe {
            match (*self.0).type_ {
                NodeTag::T_FuncExpr => {
                    let call = self.0.cast::<pg_sys::FuncExpr>();
                    Shape::Call((*call).funcid, expressions((*call).args))
                }
                NodeTag::T_OpExpr => {
                    let call = self.0.cast::<pg_sys::OpExpr>();
                    pg_sys::set_opfuncid(call);
                    Shape::Call((*call).opfuncid, expressions((*call).args))
                }
                NodeTag::T_Const => Shape::Constant(texts(self.0.cast())),
                NodeTag::T_ArrayExpr => Shape::Elements(expressions((*self.0.cast::<pg_sys::ArrayExpr>()).elements)),
                NodeTag::T_SubscriptingRef => {
                    let subscripted = self.0.cast::<pg_sys::SubscriptingRef>();
                    Shape::Subscripts(Self((*subscripted).refexpr.cast()), expressions((*subscripted).refupperindexpr))
                }
                NodeTag::T_RelabelType => Shape::Same(Self((*self.0.cast::<pg_sys::RelabelType>()).arg.cast())),
                NodeTag::T_CoerceViaIO => Shape::Same(Self((*self.0.cast::<pg_sys::CoerceViaIO>()).arg.cast())),
                NodeTag::T_CoalesceExpr => first(expressions((*self.0.cast::<pg_sys::CoalesceExpr>()).args)),
                NodeTag::T_NullIfExpr => first(expressions((*self.0.cast::<pg_sys::OpExpr>()).args)),
                NodeTag::T_SubLink => subquery(&*self.0.cast()),
                NodeTag::T_SQLValueFunction => {
                    use pg_sys::SQLValueFunctionOp as Op;
                    match (*self.0.cast::<pg_sys::SQLValueFunction>()).op {
                        Op::SVFOP_CURRENT_ROLE | Op::SVFOP_CURRENT_USER | Op::SVFOP_USER | Op::SVFOP_SESSION_USER => {
                            Shape::Role
                        }
                        _ => Shape::Other,
                    }
                }
                NodeTag::T_Var
                | NodeTag::T_Param
                | NodeTag::T_Aggref
                | NodeTag::T_WindowFunc
                | NodeTag::T_GroupingFunc
                | NodeTag::T_CaseTestExpr => Shape::Row,
                NodeTag::T_BoolExpr
                | NodeTag::T_DistinctExpr
                | NodeTag::T_ScalarArrayOpExpr
                | NodeTag::T_NullTest
                | NodeTag::T_BooleanTest
                | NodeTag::T_CaseExpr
                | NodeTag::T_MinMaxExpr
                | NodeTag::T_ArrayCoerceExpr
                | NodeTag::T_CollateExpr
                | NodeTag::T_RowExpr
                | NodeTag::T_FieldSelect
                | NodeTag::T_CoerceToDomain
                | NodeTag::T_ConvertRowtypeExpr
                | NodeTag::T_RowCompareExpr => Shape::Other,
                NodeTag::T_List | NodeTag::T_CaseWhen => Shape::Part,
                _ => Shape::Unknown,
            }
        }
    }

    /// This node and those below it, in subqueries too, from above. Raises 54001 if they are too deep for the stack.
    pub fn parts(self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        let context = (&raw mut parts).cast();
        // SAFETY: the context is what `collected` expects, and outlives the walk.
        unsafe { pg_guard_ffi_boundary(|| collected(self.0, context)) };
        parts
    }

    /// A copy with other nodes in place of some. What takes a place is not looked into. Raises 54001 as well.
    pub fn with(self, replacements: &HashMap<Self, Self>) -> Self {
        let context = ptr::from_ref(replacements).cast_mut().cast();
        // SAFETY: the context is what `replaced` expects, and outlives the walk.
        Self(unsafe { pg_guard_ffi_boundary(|| replaced(self.0, context)) })
    }

    /// Whether the functions that the node itself calls, and the types of its value, are PostgreSQL's own. Others may be
    /// anybody's.
    pub fn is_of_the_system(self) -> bool {
        // SAFETY: a node; exprType knows all that are expressions by themselves.
        unsafe {
            !pg_sys::check_functions_in_node(self.0, Some(is_of_users), ptr::null_mut())
                && (matches!(self.shape(), Shape::Part) || is_of_the_system(pg_sys::exprType(self.0)))
        }
    }

    /// Whether a call has a truth value, or is a cast: what folding it makes is as small as what it is given.
    pub fn is_condition_or_cast(self) -> bool {
        // SAFETY: a node's tag says which struct it is.
        unsafe {
            match (*self.0).type_ {
                NodeTag::T_FuncExpr => {
                    let call = &*self.0.cast::<pg_sys::FuncExpr>();
                    let is_cast = call.funcformat != pg_sys::CoercionForm::COERCE_EXPLICIT_CALL;
                    call.funcresulttype == pg_sys::BOOLOID || is_cast && (*call.args).length == 1
                }
                NodeTag::T_OpExpr => (*self.0.cast::<pg_sys::OpExpr>()).opresulttype == pg_sys::BOOLOID,
                _ => true,
            }
        }
    }

    /// The truth value to which a condition folds, whatever the row: NULL counts as false, as in policies. `None` if
    /// it depends on the row. Calls immutable functions and may raise their errors: all must be PostgreSQL's own.
    pub fn folded(self) -> Option<bool> {
        // SAFETY: an expression without planner's state is folded as that of an index is. A constant has its value.
        unsafe {
            let folded = pg_sys::eval_const_expressions(ptr::null_mut(), self.0);
            let constant = ((*folded).type_ == NodeTag::T_Const).then_some(folded.cast::<pg_sys::Const>())?;
            Some(!(*constant).constisnull && (*constant).constvalue.value() != 0)
        }
    }

    /// NULL, or false if `falsehood`, of this expression's type.
    pub fn without_value(self, falsehood: bool) -> Self {
        // SAFETY: a call, whose type is known.
        unsafe {
            match falsehood {
                true => Self(pg_sys::makeBoolConst(false, false)),
                false => {
                    Self(pg_sys::makeNullConst(pg_sys::exprType(self.0), -1, pg_sys::exprCollation(self.0)).cast())
                }
            }
        }
    }

    /// A value of this expression's type that nothing is known of.
    pub fn unknown(self) -> Self {
        // SAFETY: the node is new, and is zeroed but for what is set.
        unsafe {
            let unknown: *mut pg_sys::Param = new_node(NodeTag::T_Param);
            (*unknown).paramkind = pg_sys::ParamKind::PARAM_EXTERN;
            (*unknown).paramid = 1;
            (*unknown).paramtype = pg_sys::exprType(self.0);
            (*unknown).paramtypmod = -1;
            (*unknown).paramcollid = pg_sys::exprCollation(self.0);
            Self(unknown.cast())
        }
    }

    /// `(SELECT expression)`.
    pub fn subquery_of(self) -> Self {
        // SAFETY: the nodes are new, and are zeroed but for what is set.
        unsafe {
            let target = pg_sys::makeTargetEntry(self.0.cast(), 1, ptr::null_mut(), false);
            let query: *mut pg_sys::Query = new_node(NodeTag::T_Query);
            (*query).commandType = pg_sys::CmdType::CMD_SELECT;
            (*query).canSetTag = true;
            (*query).jointree = pg_sys::makeFromExpr(ptr::null_mut(), ptr::null_mut());
            (*query).targetList = pg_sys::lappend(ptr::null_mut(), target.cast());
            let link: *mut pg_sys::SubLink = new_node(NodeTag::T_SubLink);
            (*link).subLinkType = pg_sys::SubLinkType::EXPR_SUBLINK;
            (*link).subselect = query.cast();
            (*link).location = -1;
            Self(link.cast())
        }
    }
}

fn first(arguments: Vec<Expression>) -> Shape {
    arguments.first().map_or(Shape::Other, |first| Shape::Same(*first))
}

/// # Safety
///
/// The tag must be that of a `T`, which zeroes are valid for.
unsafe fn new_node<T>(tag: NodeTag) -> *mut T {
    // SAFETY: a node begins with its tag.
    unsafe {
        let node: *mut T = pg_sys::palloc0(size_of::<T>()).cast();
        (*node.cast::<pg_sys::Node>()).type_ = tag;
        node
    }
}

/// The nodes of a list, without those that are left out, as the bounds of a slice can be.
///
/// # Safety
///
/// A list of nodes, or NULL.
unsafe fn expressions(list: *const pg_sys::List) -> Vec<Expression> {
    // SAFETY: the caller's promise.
    unsafe { nodes(list) }.filter(|node| !node.is_null()).map(Expression).collect()
}

/// What sort of subquery it is.
///
/// # Safety
///
/// The struct must be that of a parsed query.
unsafe fn subquery(link: &pg_sys::SubLink) -> Shape {
    // SAFETY: the analysis of a query makes a Query of each subselect, with a jointree.
    unsafe {
        let query = &*link.subselect.cast::<pg_sys::Query>();
        let is_plain = query.rtable.is_null()
            && query.setOperations.is_null()
            && query.cteList.is_null()
            && query.jointree.as_ref().is_none_or(|from| from.quals.is_null())
            && query.limitCount.is_null()
            && query.limitOffset.is_null()
            && query.havingQual.is_null()
            && !query.hasAggs
            && !query.hasTargetSRFs;
        let targets = expressions(query.targetList);
        match (link.subLinkType, &targets[..]) {
            (pg_sys::SubLinkType::EXPR_SUBLINK, [target]) if is_plain => {
                Shape::Once(Expression((*target.0.cast::<pg_sys::TargetEntry>()).expr.cast()))
            }
            _ => Shape::Subquery { has_tables: !query.rtable.is_null() },
        }
    }
}

/// # Safety
///
/// The struct must be that of a constant.
unsafe fn texts(constant: *const pg_sys::Const) -> Vec<Vec<u8>> {
    // SAFETY: the type says what the value is.
    unsafe {
        let constant = &*constant;
        match constant.consttype {
            _ if constant.constisnull => Vec::new(),
            pg_sys::TEXTOID | pg_sys::VARCHAROID => {
                vec![text(constant.constvalue)]
            }
            pg_sys::TEXTARRAYOID => text_array(constant.constvalue),
            _ => Vec::new(),
        }
    }
}

/// # Safety
///
/// To be called by PostgreSQL.
unsafe extern "C-unwind" fn is_of_users(function: pg_sys::Oid, _: *mut c_void) -> bool {
    !is_of_the_system(function)
}

/// Collects a node and those below it.
///
/// # Safety
///
/// A node or NULL, and what [`Expression::parts`] gave, where PostgreSQL's errors are expected.
unsafe extern "C-unwind" fn collected(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    if node.is_null() {
        return false;
    }
    // SAFETY: PostgreSQL passes on what `parts` gave it, or a part of that. An error passes over this frame, which has
    // nothing to drop; no reference to the vector is alive then.
    unsafe {
        if (*node).type_ == NodeTag::T_Query {
            return query_tree_walker(node.cast(), collected, context, 0);
        }
        let parts = context.cast::<Vec<Part>>();
        let index = (&*parts).len();
        (&mut *parts).push(Part { node: Expression(node), end: 0 });
        let has_stopped = expression_tree_walker(node, collected, context);
        let parts = &mut *parts;
        let end = parts.len();
        if let Some(part) = parts.get_mut(index) {
            part.end = end;
        }
        has_stopped
    }
}

/// The node that takes a node's place, or its copy.
///
/// # Safety
///
/// A node or NULL, and what [`Expression::with`] gave, where PostgreSQL's errors are expected.
unsafe extern "C-unwind" fn replaced(node: *mut pg_sys::Node, context: *mut c_void) -> *mut pg_sys::Node {
    if node.is_null() {
        return node;
    }
    // SAFETY: PostgreSQL passes on what `with` gave it, or a part of that. An error passes over this frame, which has
    // nothing to drop.
    unsafe {
        if (*node).type_ == NodeTag::T_Query {
            return query_tree_mutator(node.cast(), replaced, context, 0).cast();
        }
        match (*context.cast::<HashMap<Expression, Expression>>()).get(&Expression(node)) {
            Some(other) => other.0,
            None => expression_tree_mutator(node, replaced, context),
        }
    }
}
