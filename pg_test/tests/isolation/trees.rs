//! Reading the parsed conditions of policies harms nobody, whatever they are.

use crate::server::*;

/// Everybody may ask about every tree that the catalogues have, which need not be a condition.
#[test]
fn no_tree_of_the_catalogues_brings_the_server_down() {
    let database = Database::new("all_trees");
    database.superuser().run(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY, a int DEFAULT 1 CHECK (a > 0), b int GENERATED ALWAYS AS (a + 1) STORED)
             PARTITION BY RANGE (a);
         CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (1) TO (10); CREATE INDEX ON t1 ((a + 1)) WHERE b > 1;
         CREATE STATISTICS s ON (a + 1), (b + 1) FROM t1; CREATE FUNCTION f(a int DEFAULT 1) RETURNS int BEGIN ATOMIC SELECT a; SELECT 2; END;
         CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
         CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.a <> NEW.a) EXECUTE FUNCTION g();
         CREATE DOMAIN d AS int DEFAULT 1 CHECK (VALUE > 0); CREATE RULE r AS ON INSERT TO t1 WHERE NEW.a > 1 DO ALSO SELECT 1;
         CREATE VIEW v AS WITH RECURSIVE w AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM w WHERE n < 3)
             SELECT n, count(*) FILTER (WHERE n > 1) OVER (PARTITION BY n), (SELECT max(n) FROM w) FROM w GROUP BY GROUPING SETS ((n), ())",
    );
    let mut app = database.connect("app");
    let columns = "SELECT attrelid::regclass || ' ' || attname FROM pg_attribute WHERE atttypid = 'pg_node_tree'::regtype AND attrelid < 16384";
    let columns = app.column(columns);
    assert!(columns.len() > 10, "{columns:?}");
    let mut read = 0;
    for column in columns {
        let (table, column) = column.split_once(' ').expect("a column");
        app.run(&format!(
            "DO $$ DECLARE tree pg_node_tree; answers int := 0; BEGIN
                 FOR tree IN EXECUTE 'SELECT {column} FROM {table} WHERE {column} IS NOT NULL' LOOP
                     BEGIN PERFORM * FROM auth.rls_expression(tree, 'pg_catalog.pg_class'::regclass); answers := answers + 1;
                     EXCEPTION WHEN internal_error THEN NULL; END;
                 END LOOP; PERFORM set_config('test.answers', answers::text, false); END $$"
        ));
        read += app.value::<String>("SELECT current_setting('test.answers')").parse::<i32>().expect("a number");
    }
    assert!(read > 100, "{read}");
}

/// Whatever an owner writes into a policy, linting reads it, and says what it can.
#[test]
fn every_kind_of_condition_is_read() {
    let database = Database::new("all_conditions");
    let mut session = database.superuser();
    session.run(
        "CREATE TYPE pair AS (a int, b text); CREATE DOMAIN small AS int CHECK (VALUE < 9);
         CREATE TABLE t (id int, words text[], document jsonb, whole pair, owner text, born timestamptz, number small, bits bit(3));
         ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    );
    let mut conditions = vec![
        "words[:2] = words[1:] AND words[2:3] IS NOT NULL AND auth.user_id() = owner",
        "(auth.jwt())['a']['b'] = document['c'] AND document['a'][0] IS NULL",
        "(words || '{a}')[array_length(words, 1)] = auth.claim(VARIADIC words)",
        "t.whole = ROW(1, 'x')::pair AND (t.whole).b = owner AND t IS NOT NULL AND t.* IS DISTINCT FROM NULL",
        "(id, owner) < (1, 'x') AND (id, owner) = ANY (SELECT 1, auth.user_id())",
        "id = ANY (ARRAY(SELECT n FROM generate_series(1, 3) AS n)) AND id <> ALL ('{1,2}'::int[])",
        "EXISTS (WITH w AS (SELECT auth.jwt() ->> 'a' AS a) SELECT FROM w JOIN t AS u ON u.owner = w.a WHERE u.id = t.id FOR UPDATE OF u)",
        "(SELECT count(*) FILTER (WHERE n > 1) OVER () > 1 FROM generate_series(1, 2) AS n LIMIT 1)",
        "(VALUES (auth.user_id())) = owner OR owner IN (VALUES ('a'), (auth.email()))",
        "(SELECT auth.user_id() UNION SELECT 'x' LIMIT 1) = owner",
        "CASE id WHEN 1 THEN auth.user_id() = owner WHEN 2 THEN NULL ELSE number > 1 END",
        "greatest(id, 1, number) = least(2, id) AND coalesce(owner, current_user, session_user) = auth.email()",
        "born AT TIME ZONE 'UTC' < now() AND born > CURRENT_TIMESTAMP - interval '1 day' AND extract(year FROM born) = 2000",
        "number::int + id > 3 AND bits & B'101' = B'100' AND owner COLLATE \"C\" > 'a'",
        "document @> '{\"a\": 1}' AND document @? '$.a ? (@ > 1)' AND document ?| ARRAY['a', auth.user_id()]",
        "(auth.jwt() #- '{a}') -> 'b' ->> 0 = owner AND auth.jwt() || '{}' = document",
        "(owner IS NULL) IS NOT TRUE AND (id = 1) IS UNKNOWN AND NOT (id = 2)",
        "row_to_json(t)::text LIKE '%x%' AND to_jsonb(t.*) ->> 'owner' SIMILAR TO 'a+'",
        "current_setting('app.' || owner, true) = nullif(current_setting(NULL), '')",
        "NULL",
    ];
    if session.client.query("SELECT xmlelement(name a)::text", &[]).is_ok() {
        conditions.push("xmlelement(name a, owner) IS DOCUMENT AND owner IS NOT NULL");
    }
    if !cfg!(before_pg18) {
        conditions.extend([
            "document IS JSON OBJECT WITH UNIQUE KEYS AND JSON_EXISTS(document, '$.a') AND JSON_VALUE(auth.jwt(), '$.sub') = owner",
            "JSON_QUERY(auth.jwt(), '$.a' WITH WRAPPER) = JSON_OBJECT('a': owner)::jsonb AND JSON_ARRAY(1, auth.user_id()) IS NOT NULL",
            "EXISTS (SELECT FROM JSON_TABLE(document, '$[*]' COLUMNS (a text PATH '$.a')) AS j WHERE j.a = auth.user_id())",
        ]);
    }
    for condition in conditions {
        session.run(&format!("CREATE POLICY p ON t USING ({condition}) WITH CHECK ({condition})"));
        let findings = database.connect("app").lint();
        // What lint would wrap is a condition that PostgreSQL takes.
        for finding in findings.iter().filter(|finding| finding.rule == "call_per_row") {
            session.run(&finding.fix);
        }
        session.run("DROP POLICY p ON t");
    }
}

/// A condition that takes long to fold is cancelled like any statement, and the session goes on.
#[test]
fn linting_can_be_cancelled_and_the_session_goes_on() {
    let mut session = Database::new("lint_cancelled").superuser();
    // No five groups of an odd number of letters are there twice, which takes long to find out.
    let many = "a".repeat(161);
    session.run(&format!(
        r"CREATE TABLE t (id int); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
          CREATE POLICY slow ON t USING ('{many}' ~ '^(a+)(a+)(a+)(a+)(a+)\1\2\3\4\5$')"
    ));
    session.run("SET statement_timeout = '500ms'");
    let start = std::time::Instant::now();
    assert_eq!(session.refused("SELECT * FROM auth.rls_lint()").sqlstate, "57014");
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
    session.run("BEGIN; SAVEPOINT s");
    assert_eq!(session.refused("SELECT * FROM auth.rls_lint()").sqlstate, "57014");
    session.run("ROLLBACK TO s; SELECT 1; COMMIT");
    session.run("DROP POLICY slow ON t; RESET statement_timeout");
    assert_eq!(session.lint().len(), 1);
}

/// A condition so deep that PostgreSQL itself cannot print it: the others are read all the same.
#[test]
fn a_condition_that_is_too_deep_is_a_finding_and_hides_no_other() {
    let mut session = Database::new("lint_deep").superuser();
    session.run("CREATE TABLE t (a int, tenant_id uuid PRIMARY KEY); ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");
    session.run("CREATE POLICY other ON t FOR SELECT USING (a = 1)");
    session.run("CREATE TABLE u (tenant_id uuid PRIMARY KEY); ALTER TABLE u ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                 CREATE POLICY open ON u FOR SELECT USING (true)");
    // A superuser can make it, and then nobody else can even open the table.
    session.run("SET max_stack_depth = '7MB'");
    session.run(&format!("CREATE POLICY deep ON t FOR UPDATE USING (a{} > 1)", " + 1".repeat(8000)));
    session.run("RESET max_stack_depth");
    let findings = session.lint();
    let found: Vec<_> = findings.iter().map(|found| (&*found.rule, &*found.object)).collect();
    let open = ("policy_for_everybody", "policy open on table public.u");
    let not_read = ["policy deep on table public.t", "policy other on table public.t"];
    assert_eq!(found, [open, ("policy_not_read", not_read[0]), ("policy_not_read", not_read[1])]);
    for finding in &findings {
        session.run(&finding.fix);
    }
    assert_eq!(session.lint(), []);
}
