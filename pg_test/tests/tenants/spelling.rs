//! Identifiers are spelt in one way, whatever the session's settings.

use crate::server::*;

/// Settings that any user may change, each to a value that spells something in another way.
const ODD: &str = "
    SET bytea_output = 'escape'; SET extra_float_digits = -15; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard';
    SET TimeZone = 'Asia/Tokyo'; SET quote_all_identifiers = on; SET search_path = pg_temp";

#[test]
fn the_callers_settings_do_not_change_what_is_compared() {
    for (number, (kind, stored, spelt, others)) in [
        ("bytea", "'\\x6162'", "\\x6162", &["ab", "\\x4162"][..]),
        ("float8", "0.1::float8 + 0.2::float8", "0.30000000000000004", &["0.3"]),
        ("float4", "1.1", "1.1", &["1", "1.10000002"]),
        ("date", "'2026-11-26'", "2026-11-26", &["26.11.2026", "11-26-2026"]),
        ("timestamptz", "'2026-11-26 00:30+00'", "2026-11-26 00:30:00+00", &["2026-11-26 09:30:00+09"]),
        ("timestamp", "'2026-11-26 00:30'", "2026-11-26 00:30:00", &["26.11.2026 00:30:00"]),
        ("interval", "'1 day 2 hours'", "1 day 02:00:00", &["1 2:00:00"]),
        ("regclass", "'public.note'", "public.note", &["\"public\".\"note\"", "note"]),
    ]
    .into_iter()
    .enumerate()
    {
        let schema = format!(
            "CREATE TABLE note (); CREATE TABLE users (id {kind}, tenant_id {kind}); INSERT INTO users VALUES ({stored}, {stored})"
        );
        let database = Database::new(&format!("spelt_{number}"), &schema);
        for settings in ["", ODD] {
            let mut client = database.app();
            run(&mut client, settings);
            let before = shown(&mut client);
            init(&mut client, spelt);
            assert_eq!(tenant(&mut client).as_deref(), Some(spelt), "{kind} {settings}");
            assert_eq!(tenants(&mut client), Some(vec![spelt.into()]), "{kind} {settings}");
            run(&mut client, "SELECT auth.set_tenant(auth.tenant_id())");
            for other in others {
                assert_eq!(refused(&mut client, &format!("SELECT auth.set_tenant('{other}')")).sqlstate, "42501");
                init(&mut client, other);
                assert_eq!(tenants(&mut client), Some(vec![]), "{kind} {settings} {other}");
                init(&mut client, spelt);
            }
            assert_eq!(shown(&mut client), before, "the settings are the session's again");
        }
    }
}

/// The session's settings.
fn shown(client: &mut postgres::Client) -> String {
    value(
        client,
        "SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings WHERE name IN ('bytea_output',
             'DateStyle', 'extra_float_digits', 'IntervalStyle', 'lc_monetary', 'quote_all_identifiers', 'TimeZone', 'search_path')",
    )
}
