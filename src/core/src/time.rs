//! Moments and lengths of time, handed in by the caller.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bounds::MAX_NUMERIC_DATE;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A moment, in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(transparent)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A length of time, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[repr(transparent)]
#[serde(transparent)]
pub struct Span(i64);

impl Timestamp {
    /// The moment `micros` microseconds after the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The moment `seconds` seconds after the Unix epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down: a `NumericDate` (RFC 7519 §2).
    pub const fn whole_seconds(self) -> i64 {
        self.0.div_euclid(MICROS_PER_SECOND)
    }

    /// The time from `earlier` to this moment; negative if `earlier` is later.
    pub const fn since(self, earlier: Timestamp) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// A JSON `NumericDate` (RFC 7519 §2): seconds since the epoch, fractions allowed, to the nearest microsecond as
    /// far as a double can tell (until 2106 it can). `None` if the value is not a number or lies outside the years
    /// 1970 to 9999.
    pub fn from_numeric_date(value: &Value) -> Option<Self> {
        if let Some(seconds) = value.as_i64() {
            return (0..=MAX_NUMERIC_DATE).contains(&seconds).then(|| Self::from_seconds(seconds));
        }
        let seconds = value.as_f64()?;
        if !(0.0..=MAX_NUMERIC_DATE as f64).contains(&seconds) {
            return None;
        }
        // In range, so the cast loses nothing.
        Some(Self((seconds * MICROS_PER_SECOND as f64).round() as i64))
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);

    /// `seconds` seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// `micros` microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// `millis` milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Whole seconds, rounded towards zero.
    pub const fn seconds(self) -> i64 {
        self.0 / MICROS_PER_SECOND
    }

    /// This length in whole seconds, rounded up.
    pub const fn in_whole_seconds(self) -> Self {
        Self::from_seconds(self.0.saturating_add(MICROS_PER_SECOND - 1) / MICROS_PER_SECOND)
    }

    /// This length times `numerator / denominator`.
    pub const fn scaled(self, numerator: i64, denominator: i64) -> Self {
        Self((self.0 / denominator).saturating_mul(numerator))
    }

    /// This length `times` over.
    pub const fn times(self, times: i64) -> Self {
        Self(self.0.saturating_mul(times))
    }

    /// How often `other` fits into it; not at all if it is negative.
    pub fn whole(self, other: Self) -> u32 {
        let times = self.0.max(0).checked_div(other.0).unwrap_or(i64::MAX);
        u32::try_from(times).unwrap_or(u32::MAX)
    }
}

impl std::ops::Add<Span> for Timestamp {
    type Output = Timestamp;

    fn add(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(span.0))
    }
}

impl std::ops::Sub<Span> for Timestamp {
    type Output = Timestamp;

    fn sub(self, span: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(span.0))
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} s", self.seconds())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn numeric_dates_may_be_fractional() {
        assert_eq!(Timestamp::from_numeric_date(&json!(1.5)), Some(Timestamp::from_micros(1_500_000)));
        assert_eq!(Timestamp::from_numeric_date(&json!(1_700_000_000)), Some(Timestamp::from_seconds(1_700_000_000)));
        assert_eq!(Timestamp::from_numeric_date(&json!(1.7e9)), Some(Timestamp::from_seconds(1_700_000_000)));
    }

    proptest! {
        #[test]
        fn numeric_dates_are_exact_to_the_microsecond(micros in 0..4_294_967_296_000_000_i64) {
            let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            let value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(Timestamp::from_numeric_date(&value), Some(Timestamp::from_micros(micros)));
        }

        #[test]
        fn arithmetic_saturates(moment: i64, span: i64, numerator in 0..100_i64, denominator in 1..100_i64) {
            let (moment, span) = (Timestamp::from_micros(moment), Span(span));
            let exact = i128::from(moment.0) + i128::from(span.0);
            prop_assert_eq!(i128::from((moment + span).0), exact.clamp(i64::MIN.into(), i64::MAX.into()));
            let exact = i128::from(moment.0) - i128::from(span.0);
            prop_assert_eq!(i128::from((moment - span).0), exact.clamp(i64::MIN.into(), i64::MAX.into()));
            let _ = (moment.since(Timestamp(span.0)), span.times(numerator), span.scaled(numerator, denominator));
        }
    }

    #[test]
    fn numeric_dates_outside_the_calendar_are_none() {
        for bad in
            [json!(-1), json!(-0.5), json!(253_402_300_800_i64), json!(u64::MAX), json!(1e300), json!("1"), json!(null)]
        {
            assert_eq!(Timestamp::from_numeric_date(&bad), None, "{bad}");
        }
    }
}
