//! Every actor tries everything with every table of a template.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::OnceLock;

use pg_test::{PgError, pg_error};
use postgres::{Client, Error};

use crate::access::{NOBODY, Target, Template};
use crate::attacks::{Attack, Effect, Row, View, set};
use crate::server::{Database, run, sign_in, sign_in_refused, sign_out};
use crate::specs;

/// How the server may say no: by privileges and policies, or by a constraint that a policy need not repeat.
const REFUSALS: [&str; 6] = ["42501", "23502", "23503", "23505", "23514", "44000"];

fn is_refusal(error: &PgError, view: &View) -> bool {
    let of_a_view = view.target.is_view() && error.message.starts_with("conflicting row is not visible through view");
    of_a_view || REFUSALS.contains(&&*error.sqlstate)
}

/// The exposed databases that tests share, by the place of their template among all.
static SHARED: [OnceLock<Database>; 12] = [const { OnceLock::new() }; 12];

/// An exposed database in which nobody commits anything.
pub fn shared(template: &Template) -> &'static Database {
    let place = specs::all().position(|other| other.name == template.name).expect("one of all");
    SHARED[place].get_or_init(|| exposed(template, "shared"))
}

/// A database whose policies have to hold alone: no NOT NULL on the columns that they look at, rows that belong to
/// nobody, and all privileges on rows.
pub fn exposed(template: &Template, purpose: &str) -> Database {
    let database = Database::new(template, purpose);
    let schema = template.name;
    let mut setup = format!("{WITNESS} GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO app;");
    for Target { table, id, home, body, value, .. } in template.targets.iter().filter(|target| target.nullable) {
        setup.push_str(&format!(
            "ALTER TABLE {schema}.{table} ALTER {home} DROP NOT NULL;
             INSERT INTO {schema}.{table} ({id}, {home}, {body}) VALUES ('90', NULL, '{value}');"
        ));
    }
    run(&mut database.superuser(), &setup);
    database
}

/// Shows what is in a table to those who must not see it, so that one connection can write and be watched.
const WITNESS: &str = "
    CREATE SCHEMA witness;
    CREATE FUNCTION witness.rows(tbl text, id text, home text, OUT i text, OUT h text, OUT v text) RETURNS SETOF record
        LANGUAGE plpgsql SECURITY DEFINER AS $$
        BEGIN
            RETURN QUERY EXECUTE format('SELECT %I::text, %I::text, xmin::text || t::text FROM %s t', id, home, tbl);
        END $$;
    CREATE FUNCTION witness.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
        BEGIN
            PERFORM set_config('witness.seen', current_setting('witness.seen', true) || $1 || ' ', false);
            RETURN true;
        END $$;
    GRANT USAGE ON SCHEMA witness TO PUBLIC;";

/// The first thing that an actor can do and should not, or cannot and should.
pub fn violation(database: &Database, template: &Template) -> Result<(), String> {
    let mut client = database.service();
    for target in template.targets {
        for actor in template.actors {
            sign_in(&mut client, actor);
            let view = view(template, target, actor.name);
            reads(&mut client, &view)?;
            writes(&mut client, &view)?;
        }
        let view = view(template, target, NOBODY);
        sign_in_refused(&mut client, &template.actors[0]);
        reads(&mut client, &view)?;
        sign_out(&mut client);
        reads(&mut client, &view)?;
        writes(&mut client, &view)?;
    }
    Ok(())
}

/// A table of the template as somebody sees it.
pub fn view<'a>(template: &Template, target: &'a Target, who: &str) -> View<'a> {
    View { name: format!("{}.{}", template.name, target.name), target, access: target.access(who) }
}

/// Everything that shows rows.
pub fn reads(client: &mut Client, view: &View) -> Result<(), String> {
    let who = view.access.who;
    let expected = set(view.access.reads);
    let mut seen = Vec::new();
    run(client, "SET witness.seen = ''");
    for read in view.reads() {
        seen.push((query(client, &read), read));
    }
    if !view.target.is_view() {
        let leaked = query(client, "SELECT unnest(string_to_array(trim(current_setting('witness.seen')), ' '))");
        seen.push((leaked, "what a leaky function saw".to_owned()));
    }
    for copy in view.copies() {
        seen.push((copy_out(client, &copy), copy));
    }
    for (rows, read) in seen {
        match rows {
            Ok(rows) if rows == expected => {}
            Ok(rows) => return Err(format!("{who} reads {rows:?}, not {expected:?}: {read}")),
            Err(error) => return Err(format!("{who} cannot read: {read}: {error:?}")),
        }
    }
    let locks = view.locks();
    match query(client, &locks) {
        Ok(rows) if rows == set(view.access.updates) => Ok(()),
        Err(error) if view.access.updates.is_empty() && error.sqlstate == "42501" => Ok(()),
        other => Err(format!("{who} locks {other:?}: {locks}")),
    }
}

/// Everything that writes, each in a transaction that is rolled back.
pub fn writes(client: &mut Client, view: &View) -> Result<(), String> {
    let who = view.access.who;
    let before = rows(client, view);
    for Attack { statement, expected } in view.writes(&before) {
        run(client, "BEGIN");
        let outcome = query(client, &statement);
        let effect = match &outcome {
            Ok(_) => Effect::between(&before, &rows(client, view)),
            Err(_) => Effect::default(),
        };
        run(client, "ROLLBACK");
        if effect != expected {
            return Err(format!("{who} has done {effect:?}, not {expected:?}: {statement}: {outcome:?}"));
        }
        match outcome {
            Ok(returned) if statement.contains("RETURNING") && returned != effect.ids() => {
                return Err(format!("{who} is told {returned:?}: {statement}"));
            }
            Err(error) if !is_refusal(&error, view) => {
                return Err(format!("{who}: {statement}: {error:?}"));
            }
            _ => {}
        }
    }
    for statement in view.forbidden() {
        run(client, "BEGIN");
        let outcome = client.batch_execute(&statement).map_err(|error| pg_error(&error).sqlstate);
        run(client, "ROLLBACK");
        // A view is no table, or not theirs.
        let refusals = if view.target.is_view() { &["42501", "42809"][..] } else { &["42501"] };
        if !outcome.as_ref().is_err_and(|sqlstate| refusals.contains(&&**sqlstate)) {
            return Err(format!("{who} may {statement}: {outcome:?}"));
        }
    }
    // Into a view nobody can copy.
    if view.target.is_view() { Ok(()) } else { copy_in(client, view) }
}

/// What is in the table, whoever asks.
fn rows(client: &mut Client, view: &View) -> BTreeSet<Row> {
    let target = view.target;
    let schema = view.name.split('.').next().unwrap_or_default();
    let table = format!("{schema}.{}", target.table);
    let rows = client.query("SELECT i, h, v FROM witness.rows($1, $2, $3)", &[&table, &target.id, &target.home]);
    let rows = rows.expect("the witness").into_iter();
    rows.map(|row| Row { id: row.get(0), home: row.get(1), version: row.get(2) }).collect()
}

/// The first column of what a statement shows.
pub fn query(client: &mut Client, statement: &str) -> Result<BTreeSet<String>, PgError> {
    let rows = client.query(statement, &[]).map_err(|error| pg_error(&error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn copy_out(client: &mut Client, statement: &str) -> Result<BTreeSet<String>, PgError> {
    let mut text = String::new();
    let mut reader = client.copy_out(statement).map_err(|error| pg_error(&error))?;
    reader.read_to_string(&mut text).expect("COPY TO ends well once it has begun");
    Ok(text.lines().map(str::to_owned).collect())
}

/// COPY FROM does not look at policies, so PostgreSQL refuses it where there are any.
fn copy_in(client: &mut Client, view: &View) -> Result<(), String> {
    let statement = format!("COPY {} ({}) FROM STDIN", view.name, view.target.id);
    let outcome = client.batch_execute(&statement);
    match outcome.as_ref().map_err(Error::as_db_error) {
        Err(Some(error)) if ["0A000", "42501"].contains(&error.code().code()) => Ok(()),
        other => Err(format!("{} may {statement}: {other:?}", view.access.who)),
    }
}
