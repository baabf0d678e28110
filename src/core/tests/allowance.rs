//! A flood of rejections leaves others their lines in the log.

use pg_jwks_core::allowance::{Allowances, LINES_PER_SECOND};
use pg_jwks_core::rejection::Reason;
use pg_jwks_core::time::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + second)
}

/// How many of so many rejections have a line, and how many they say were left out.
fn lines(allowances: &Allowances, user: u32, reason: Reason, second: i64, rejections: u64) -> (u64, u64) {
    let taken = (0..rejections).filter_map(|_| allowances.take(user, reason, at(second)));
    taken.fold((0, 0), |(lines, left_out), more| (lines + 1, left_out + more))
}

#[test]
fn a_second_has_so_many_lines() {
    let allowances = Allowances::new();
    assert_eq!(lines(&allowances, 1, Reason::Expired, 0, 100), (LINES_PER_SECOND, 0));
    assert_eq!(lines(&allowances, 1, Reason::Expired, 0, 1), (0, 0));
}

#[test]
fn the_next_line_tells_how_many_were_left_out() {
    let allowances = Allowances::new();
    lines(&allowances, 1, Reason::Expired, 0, LINES_PER_SECOND + 7);
    assert_eq!(lines(&allowances, 1, Reason::Expired, 1, 2), (2, 7));
}

#[test]
fn a_flood_leaves_other_users_and_reasons_their_lines() {
    let allowances = Allowances::new();
    lines(&allowances, 1, Reason::Expired, 0, 10_000);
    assert_eq!(lines(&allowances, 2, Reason::Expired, 0, 3), (3, 0));
    assert_eq!(lines(&allowances, 1, Reason::SignatureInvalid, 0, 3), (3, 0));
}

#[test]
fn nothing_that_was_left_out_is_forgotten() {
    let allowances = Allowances::new();
    let (mut written, mut told) = (0, 0);
    let users = 5000;
    for user in 0..users {
        let (lines, left_out) = lines(&allowances, user, Reason::Expired, i64::from(user % 3), 20);
        (written, told) = (written + lines, told + left_out);
    }
    // One line of each says what is left to tell.
    for user in 0..users {
        let (lines, left_out) = lines(&allowances, user, Reason::Expired, 1000, 1);
        (written, told) = (written + lines, told + left_out);
    }
    let (lines, left_out) = lines(&allowances, 0, Reason::Expired, 2000, 1);
    assert_eq!(written + lines + told + left_out, u64::from(users) * 21 + 1);
}

#[test]
fn more_users_than_there_are_allowances_share_one() {
    let allowances = Allowances::new();
    let written: u64 = (0..100_000).map(|user| lines(&allowances, user, Reason::Expired, 0, 1).0).sum();
    assert!((512..=1024 + LINES_PER_SECOND).contains(&written), "{written} lines in one second");
}
