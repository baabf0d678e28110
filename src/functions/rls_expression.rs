//! `auth.rls_expression(pg_node_tree)`: what a policy's expression says, for `auth.rls_lint()`.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

use pgrx::iter::TableIterator;
use pgrx::prelude::*;
use pgrx::{AnyElement, pg_sys};

use crate::pg::datum::text_array_datum;
use crate::pg::expression::{Expression, Shape};
use crate::pg::function::{Function, function};
use crate::pg::memory;
use crate::pg::subtransaction::attempt;

/// Readers of the identity that are NULL without one.
const READERS: [&str; 15] = [
    "actor",
    "claim",
    "email",
    "expires_at",
    "get_current_user_tenant_id",
    "jwt",
    "organization",
    "organization_id",
    "role",
    "session",
    "tenant_id",
    "tenant_ids",
    "uid",
    "user_id",
    "current_setting",
];

/// Those that are false without one.
const CONDITIONS: [&str; 2] = ["has_role", "has_scope"];

/// What costs much for each row: the setting is looked up by its name, and members of claims are looked for.
const COSTLY: [&str; 4] = ["current_setting", "jwt", "organization", "session"];

/// Functions of PostgreSQL's that say who asks, or depend on it.
const ASKING: [&str; 4] = ["current_setting", "getpgusername", "inet_client_addr", "row_security_active"];

/// `auth.rls_expression(expression pg_node_tree)`.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn rls_expression(
    expression: Option<AnyElement>,
) -> TableIterator<
    'static,
    (
        name!(verdict, Option<bool>),
        name!(verdict_without_identity, Option<bool>),
        name!(asks, bool),
        name!(settings, Option<AnyElement>),
        name!(claims, Option<AnyElement>),
        name!(once, Option<AnyElement>),
    ),
> {
    memory::require(0);
    // SAFETY: nobody but PostgreSQL makes values of type pg_node_tree: its input functions refuse.
    let expression = expression.and_then(|tree| unsafe { Expression::parse(tree.datum()) });
    let Some(expression) = expression else { return TableIterator::new([]) };
    let mut functions = Functions::default();
    let mut said = Said::default();
    expression.visit(&mut |node| said.by(node, &mut functions));
    let mut verdict = |without_identity| {
        let functions = AssertUnwindSafe(&mut functions);
        attempt(AssertUnwindSafe(move || {
            let AssertUnwindSafe(functions) = functions;
            foldable(expression, without_identity, functions).folded()
        }))
        .flatten()
    };
    let verdicts = (verdict(false), verdict(true));
    let once = once(expression, &mut functions).map(|once| once.tree());
    let value = |datum, type_| {
        // SAFETY: the datum is of this type.
        unsafe { AnyElement::from_polymorphic_datum(datum, false, type_) }
    };
    let texts = |texts: &[Vec<u8>]| value(text_array_datum(texts), pg_sys::TEXTARRAYOID);
    let row = (
        verdicts.0,
        verdicts.1,
        said.asks,
        texts(&said.settings),
        texts(&said.claims),
        once.and_then(|once| value(once, pg_sys::PG_NODE_TREEOID)),
    );
    TableIterator::once(row)
}

/// What is known of the functions that an expression calls.
#[derive(Default)]
struct Functions(HashMap<pg_sys::Oid, Function>);

impl Functions {
    fn of(&mut self, oid: pg_sys::Oid) -> &Function {
        self.0.entry(oid).or_insert_with(|| function(oid))
    }

    /// Whether it reads a member of a JSON value.
    fn is_member_of_json(&mut self, oid: pg_sys::Oid) -> bool {
        matches!(self.of(oid), Function::System(name) if is_member_of_json(name))
    }

    /// Whether it is one of ours or of PostgreSQL's with one of these names.
    fn is_any(&mut self, oid: pg_sys::Oid, names: &[&str]) -> bool {
        match self.of(oid) {
            Function::Ours(name) | Function::System(name) => names.contains(&name.as_str()),
            Function::Users { .. } => false,
        }
    }
}

/// What an expression depends on.
#[derive(Default)]
struct Said {
    /// It depends on who asks: a function of users, a table, or a role.
    asks: bool,
    /// The names of settings that it reads, in small letters.
    settings: Vec<Vec<u8>>,
    /// The paths of claims that it reads, with dots.
    claims: Vec<Vec<u8>>,
}

impl Said {
    /// Notes what a node says. Returns whether to look below it.
    fn by(&mut self, node: Expression, functions: &mut Functions) -> bool {
        if let Some(path) = claim_path(node, functions).filter(|path| !path.is_empty()) {
            self.asks = true;
            self.claims.push(path.join(&b'.'));
            note_setting(node, functions, &mut self.settings);
            return false;
        }
        match node.shape() {
            Shape::Role => self.asks = true,
            Shape::Subquery { has_tables } => self.asks |= has_tables,
            Shape::Call(oid, arguments) => {
                self.asks |= match functions.of(oid) {
                    Function::Ours(_) => true,
                    Function::System(name) => {
                        ASKING.contains(&name.as_str()) || name.starts_with("has_") || name.starts_with("pg_has_")
                    }
                    Function::Users { is_immutable } => !is_immutable,
                };
                self.settings.extend(setting(oid, &arguments, functions));
            }
            _ => {}
        }
        true
    }
}

/// Notes the settings that are read in a path of claims.
fn note_setting(node: Expression, functions: &mut Functions, settings: &mut Vec<Vec<u8>>) {
    node.visit(&mut |part| {
        if let Shape::Call(oid, arguments) = part.shape() {
            settings.extend(setting(oid, &arguments, functions));
        }
        true
    });
}

/// The setting that a call of `current_setting` reads.
fn setting(oid: pg_sys::Oid, arguments: &[Expression], functions: &mut Functions) -> Option<Vec<u8>> {
    let is_setting = functions.is_any(oid, &["current_setting"]);
    let name = is_setting.then_some(arguments.first())??;
    texts(*name).pop().map(|name| name.to_ascii_lowercase())
}

/// The texts of a constant, or of an array of constants.
fn texts(expression: Expression) -> Vec<Vec<u8>> {
    match expression.shape() {
        Shape::Constant(texts) => texts,
        Shape::Elements(elements) => elements.into_iter().flat_map(texts).collect(),
        Shape::Same(other) => texts(other),
        _ => Vec::new(),
    }
}

/// The path of the claim whose value an expression has; empty for all claims.
fn claim_path(expression: Expression, functions: &mut Functions) -> Option<Vec<Vec<u8>>> {
    let below = |of: Expression, names: Vec<Vec<u8>>, functions: &mut Functions| {
        let mut path = claim_path(of, functions)?;
        path.extend(names);
        Some(path)
    };
    match expression.shape() {
        Shape::Same(other) | Shape::Once(other) => claim_path(other, functions),
        Shape::Subscripts(of, keys) => below(of, keys.into_iter().flat_map(texts).collect(), functions),
        Shape::Call(oid, arguments) => {
            let of_all = setting(oid, &arguments, functions).is_some_and(|name| name.ends_with(b"jwt.claims"));
            match (functions.of(oid), &arguments[..]) {
                (Function::Ours(name), [path]) if name == "claim" => Some(texts(*path)),
                (Function::Ours(name), []) if name == "jwt" || name == "session" => Some(Vec::new()),
                (Function::System(name), [of, names]) if is_member_of_json(name) => {
                    below(*of, texts(*names), functions)
                }
                _ => of_all.then(Vec::new),
            }
        }
        _ => None,
    }
}

/// Whether a function of PostgreSQL's is the operator `->`, `->>`, `#>` or `#>>`, or called as they are.
fn is_member_of_json(name: &str) -> bool {
    let name = name.strip_prefix("jsonb_").or_else(|| name.strip_prefix("json_")).unwrap_or_default();
    matches!(name, "object_field" | "object_field_text" | "extract_path" | "extract_path_text")
}

/// The expression with nothing in it that folding could not safely look at: calls of users' functions and values of their
/// types are unknown, and so are subqueries, and calls that could make much of little. Without identity, its readers have
/// no value.
fn foldable(expression: Expression, without_identity: bool, functions: &mut Functions) -> Expression {
    expression.rewritten(&mut |node| match node.shape() {
        Shape::Once(inner) => Some(foldable(inner, without_identity, functions)),
        Shape::Call(oid, _) if without_identity && functions.is_any(oid, &CONDITIONS) => Some(node.without_value(true)),
        Shape::Call(oid, _) if without_identity && functions.is_any(oid, &READERS) => Some(node.without_value(false)),
        Shape::Subquery { .. } | Shape::Unknown => Some(node.unknown()),
        Shape::Call(oid, _) if !node.is_condition_or_cast() && !functions.is_member_of_json(oid) => {
            Some(node.unknown())
        }
        _ if node.is_of_the_system() => None,
        _ => Some(node.unknown()),
    })
}

/// The expression with `(SELECT ...)` around each part that is costly and the same for all rows; `None` if there is no such
/// part.
fn once(expression: Expression, functions: &mut Functions) -> Option<Expression> {
    let mut has_changed = false;
    let changed = expression.rewritten(&mut |node| match node.shape() {
        Shape::Once(_) | Shape::Subquery { has_tables: false } => Some(node),
        Shape::Part | Shape::Unknown | Shape::Constant(_) | Shape::Elements(_) | Shape::Row => None,
        _ => {
            let is_costly = is_costly_and_same(node, functions);
            has_changed |= is_costly;
            is_costly.then(|| node.subquery_of())
        }
    });
    has_changed.then_some(changed)
}

fn is_costly_and_same(expression: Expression, functions: &mut Functions) -> bool {
    let (mut is_same, mut is_costly) = (true, false);
    expression.visit(&mut |node| {
        match node.shape() {
            Shape::Row | Shape::Once(_) | Shape::Subquery { .. } | Shape::Unknown => is_same = false,
            Shape::Call(oid, _) => is_costly |= functions.is_any(oid, &COSTLY),
            _ => {}
        }
        is_same
    });
    is_same && is_costly
}
