//! The rules about keys that reach across tenants.

use crate::lint::finds;
use crate::server::*;

const FOLDERS: &str = "CREATE TABLE folder (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL);
    CREATE TABLE document (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, folder_id int);
    CREATE INDEX ON folder (tenant_id); CREATE INDEX ON document (tenant_id);
    SELECT auth.enable_tenant_isolation('folder'), auth.enable_tenant_isolation('document');";

const CROSSING: &str = "lets a tenant refer to rows of other tenants in table public.folder, find out which there are, and lose its own with them";

#[test]
fn foreign_keys_across_tenants_are_found() {
    for (number, (actions, more)) in [
        ("", ""),
        ("ON DELETE CASCADE ON UPDATE CASCADE", " ON UPDATE CASCADE ON DELETE CASCADE"),
        ("ON DELETE SET NULL", " ON DELETE SET NULL (folder_id)"),
        (
            "ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED NOT VALID",
            " ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED NOT VALID",
        ),
        ("ON DELETE SET DEFAULT DEFERRABLE", " ON DELETE SET DEFAULT (folder_id) DEFERRABLE"),
    ]
    .into_iter()
    .enumerate()
    {
        let plant =
            format!("ALTER TABLE document ADD CONSTRAINT \"In\" FOREIGN KEY (folder_id) REFERENCES folder {actions}");
        let fix = format!(
            "ALTER TABLE public.folder ADD UNIQUE (tenant_id, id); ALTER TABLE public.document DROP CONSTRAINT \"In\", \
             ADD CONSTRAINT \"In\" FOREIGN KEY (tenant_id, folder_id) REFERENCES public.folder (tenant_id, id){more};"
        );
        let object = "constraint \"In\" on table public.document";
        finds(
            &format!("foreign_key_{number}"),
            FOLDERS,
            &plant,
            ["foreign_key_across_tenants", "error", object, CROSSING, &fix],
        );
    }
    let before = format!("{FOLDERS} ALTER TABLE folder ADD UNIQUE (id, tenant_id), ADD parent int");
    let problem = CROSSING;
    let fix = "ALTER TABLE public.folder DROP CONSTRAINT folder_parent_fkey, ADD CONSTRAINT folder_parent_fkey \
               FOREIGN KEY (tenant_id, parent) REFERENCES public.folder (tenant_id, id);";
    let plant = "ALTER TABLE folder ADD FOREIGN KEY (parent) REFERENCES folder";
    let object = "constraint folder_parent_fkey on table public.folder";
    finds("foreign_key_self", &before, plant, ["foreign_key_across_tenants", "error", object, problem, fix]);
}

/// The story: B's document in A's folder; A deletes its folder, and B loses the document.
#[test]
fn a_tenant_can_neither_refer_to_another_s_row_nor_lose_rows_with_it_once_the_fix_has_run() {
    let mut session = Database::new("foreign_key_story").superuser();
    session.run(FOLDERS);
    session.run(
        "ALTER TABLE document ADD CONSTRAINT in_folder FOREIGN KEY (folder_id) REFERENCES folder ON DELETE CASCADE;
         GRANT SELECT, INSERT, UPDATE, DELETE ON folder, document TO app",
    );
    let insert = "INSERT INTO document (id, folder_id) VALUES (gen_random_uuid(), 1)";
    let story = |session: &mut Session| {
        session.run("SET ROLE app");
        session.log_in(A);
        session.run("INSERT INTO folder DEFAULT VALUES");
        session.log_in(B);
    };
    session.run("BEGIN");
    story(&mut session);
    session.run(insert);
    session.log_in(A);
    session.run("DELETE FROM folder");
    session.log_in(B);
    assert_eq!(session.column("SELECT id FROM document"), [""; 0], "the fault: B's row is gone");
    session.run("ROLLBACK; RESET ROLE; SELECT auth.jwt_session_clear()");
    let fix =
        session.lint().into_iter().find(|found| found.rule == "foreign_key_across_tenants").expect("a finding").fix;
    session.run(&fix);
    session.run("ALTER SEQUENCE folder_id_seq RESTART");
    story(&mut session);
    assert_eq!(session.refused(insert).sqlstate, "23503");
}

#[test]
fn enabling_isolation_notes_foreign_keys_across_tenants() {
    let mut session = Database::new("foreign_key_notice").superuser();
    session.run(
        "CREATE TABLE folder (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL);
         CREATE TABLE document (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, folder_id int REFERENCES folder);
         CREATE INDEX ON folder (tenant_id); CREATE INDEX ON document (tenant_id)",
    );
    assert_eq!(session.notes("SELECT auth.enable_tenant_isolation('folder')"), []);
    let notes = session.notes("SELECT auth.enable_tenant_isolation('document')");
    let [note] = &notes[..] else { panic!("{notes:?}") };
    assert_eq!(note.message, format!("constraint document_folder_id_fkey on table public.document {CROSSING}"));
    session.run(note.hint.as_deref().expect("a hint"));
    assert_eq!(
        session.notes("SELECT auth.enable_tenant_isolation('document'), auth.enable_tenant_isolation('folder')"),
        []
    );
    assert_eq!(session.lint(), []);
}

#[test]
fn keys_that_tell_tenants_of_each_other_are_found() {
    let problem = "lets a tenant find out which values others have";
    let before = "CREATE TABLE t (id uuid PRIMARY KEY, number serial UNIQUE, counter int GENERATED BY DEFAULT AS IDENTITY UNIQUE,
            email text, slug text, tenant_id uuid NOT NULL);
        CREATE UNIQUE INDEX ON t (tenant_id, slug); CREATE TABLE shared (slug text UNIQUE);
        SELECT auth.enable_tenant_isolation('t')";
    for (name, plant, object, fix) in [
        (
            "constraint",
            "ALTER TABLE t ADD CONSTRAINT \"E\" UNIQUE (email) INCLUDE (slug) DEFERRABLE",
            "constraint \"E\" on table public.t",
            "ALTER TABLE public.t DROP CONSTRAINT \"E\", ADD CONSTRAINT \"E\" UNIQUE (tenant_id, email) INCLUDE (slug) DEFERRABLE;",
        ),
        (
            "index",
            "CREATE UNIQUE INDEX \"E\" ON t (lower(email)) WHERE slug IS NOT NULL",
            "index public.\"E\"",
            "DROP INDEX public.\"E\"; CREATE UNIQUE INDEX \"E\" ON public.t USING btree (tenant_id, lower(email)) WHERE (slug IS NOT NULL);",
        ),
        (
            "primary",
            "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (slug)",
            "constraint t_pkey on table public.t",
            "ALTER TABLE public.t DROP CONSTRAINT t_pkey, ADD CONSTRAINT t_pkey PRIMARY KEY (tenant_id, slug);",
        ),
    ] {
        finds(&format!("unique_{name}"), before, plant, ["unique_across_tenants", "notice", object, problem, fix]);
    }
}
