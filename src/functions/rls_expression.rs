//! `auth.rls_expression(pg_node_tree, oid)`: what a policy's expression says, for `auth.rls_lint()`.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

use pgrx::iter::TableIterator;
use pgrx::prelude::*;
use pgrx::{AnyElement, check_for_interrupts, pg_sys};

use crate::pg::datum::text_array_datum;
use crate::pg::expression::{Expression, Shape};
use crate::pg::function::{Function, function};
use crate::pg::memory::{self, check_stack};
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

/// Functions of PostgreSQL's that say who asks, or depend on it.
const ASKING: [&str; 4] = ["current_setting", "getpgusername", "inet_client_addr", "row_security_active"];

/// `auth.rls_expression(expression pg_node_tree, relation oid)`. No row for an expression that cannot be read, as one that
/// is too deep.
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)]
fn rls_expression(
    expression: Option<AnyElement>,
    relation: Option<pg_sys::Oid>,
) -> TableIterator<
    'static,
    (
        name!(condition, Option<AnyElement>),
        name!(once, Option<AnyElement>),
        name!(verdict, Option<bool>),
        name!(verdict_without_identity, Option<bool>),
        name!(asks, bool),
        name!(settings, Option<AnyElement>),
        name!(claims, Option<AnyElement>),
    ),
> {
    memory::require(0);
    let read = |tree: AnyElement| attempt(AssertUnwindSafe(|| Reading::of(tree.datum(), relation?))).flatten();
    let reading = expression.and_then(read);
    let value = |datum, type_| {
        // SAFETY: the datum is of this type.
        unsafe { AnyElement::from_polymorphic_datum(datum, false, type_) }
    };
    let texts = move |texts: &[Vec<u8>]| value(text_array_datum(texts), pg_sys::TEXTARRAYOID);
    TableIterator::new(reading.into_iter().map(move |reading| {
        (
            value(reading.condition, pg_sys::TEXTOID),
            reading.once.and_then(|once| value(once, pg_sys::TEXTOID)),
            reading.verdict,
            reading.verdict_without_identity,
            reading.said.asks,
            texts(&reading.said.settings),
            texts(&reading.said.claims),
        )
    }))
}

/// What an expression says.
struct Reading {
    said: Said,
    verdict: Option<bool>,
    verdict_without_identity: Option<bool>,
    /// The expression as text, and with `(SELECT ...)` where that helps.
    condition: pg_sys::Datum,
    once: Option<pg_sys::Datum>,
}

impl Reading {
    /// Reads a value of type `pg_node_tree` about the rows of a relation; `None` for an empty one.
    fn of(tree: pg_sys::Datum, relation: pg_sys::Oid) -> Option<Self> {
        // SAFETY: nobody but PostgreSQL makes values of type pg_node_tree: its input functions refuse.
        let expression = unsafe { Expression::parse(tree) }?;
        let mut functions = Functions::default();
        let mut verdict = |without_identity| {
            let functions = AssertUnwindSafe(&mut functions);
            attempt(AssertUnwindSafe(move || {
                let AssertUnwindSafe(functions) = functions;
                foldable(expression, without_identity, functions).folded()
            }))
            .flatten()
        };
        let (verdict, verdict_without_identity) = (verdict(false), verdict(true));
        Some(Self {
            said: Said::by(expression, &mut functions),
            verdict,
            verdict_without_identity,
            condition: expression.text(relation)?,
            once: once(expression, &mut functions).and_then(|once| once.text(relation)),
        })
    }
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

    /// Whether it costs much for each row: a function of users', or a setting that is looked up by its name. Ours keep
    /// what they found.
    fn is_costly(&mut self, oid: pg_sys::Oid) -> bool {
        match self.of(oid) {
            Function::Ours(_) => false,
            Function::System(name) => name == "current_setting",
            Function::Users { is_call_in_statement, .. } => *is_call_in_statement,
        }
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
    /// What an expression says.
    fn by(expression: Expression, functions: &mut Functions) -> Self {
        let (parts, mut said, mut index) = (expression.parts(), Self::default(), 0);
        while let Some(part) = parts.get(index) {
            check_for_interrupts!();
            index = if said.note(part.node, functions) { index + 1 } else { part.end };
        }
        said
    }

    /// Notes what a node says. Returns whether to look below it.
    fn note(&mut self, node: Expression, functions: &mut Functions) -> bool {
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
                    Function::Users { is_immutable, .. } => !is_immutable,
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
    for part in node.parts() {
        if let Shape::Call(oid, arguments) = part.node.shape() {
            settings.extend(setting(oid, &arguments, functions));
        }
    }
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
    check_stack();
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
    let mut instead = |node: Expression| match node.shape() {
        Shape::Once(inner) => Some(foldable(inner, without_identity, functions)),
        Shape::Call(oid, _) if without_identity && functions.is_any(oid, &CONDITIONS) => Some(node.without_value(true)),
        Shape::Call(oid, _) if without_identity && functions.is_any(oid, &READERS) => Some(node.without_value(false)),
        Shape::Subquery { .. } | Shape::Unknown => Some(node.unknown()),
        Shape::Call(oid, _) if !node.is_condition_or_cast() && !functions.is_member_of_json(oid) => {
            Some(node.unknown())
        }
        _ if node.is_of_the_system() => None,
        _ => Some(node.unknown()),
    };
    let (parts, mut replacements, mut index) = (expression.parts(), HashMap::new(), 0);
    while let Some(part) = parts.get(index) {
        check_for_interrupts!();
        index = match instead(part.node) {
            Some(other) => {
                replacements.insert(part.node, other);
                part.end
            }
            None => index + 1,
        };
    }
    expression.with(&replacements)
}

/// The expression with `(SELECT ...)` around each part that is costly and the same for all rows; `None` if there is no such
/// part.
fn once(expression: Expression, functions: &mut Functions) -> Option<Expression> {
    let (parts, mut replacements, mut index) = (expression.parts(), HashMap::new(), 0);
    // How many of the nodes before each are costly, and how many differ from row to row.
    let mut counts = vec![(0, 0)];
    for part in &parts {
        check_for_interrupts!();
        let (mut costly, mut different) = counts[counts.len() - 1];
        match part.node.shape() {
            Shape::Row | Shape::Once(_) | Shape::Subquery { .. } | Shape::Unknown => different += 1,
            Shape::Call(oid, _) => costly += usize::from(functions.is_costly(oid)),
            _ => {}
        }
        counts.push((costly, different));
    }
    while let Some(part) = parts.get(index) {
        let (before, after) = (counts[index], counts[part.end]);
        let is_costly_and_same = after.0 > before.0 && after.1 == before.1;
        index = match part.node.shape() {
            Shape::Once(_) | Shape::Subquery { has_tables: false } => part.end,
            Shape::Part | Shape::Unknown | Shape::Constant(_) | Shape::Elements(_) | Shape::Row => index + 1,
            _ if is_costly_and_same => {
                replacements.insert(part.node, part.node.subquery_of());
                part.end
            }
            _ => index + 1,
        };
    }
    (!replacements.is_empty()).then(|| expression.with(&replacements))
}
