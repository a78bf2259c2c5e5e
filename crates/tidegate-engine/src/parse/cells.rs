//! From the text of a cell to a typed value. Nothing is guessed: what is not plainly of the type is an error.

use tidegate_core::pipeline::{Column, ColumnType};

/// The text of `bytes` without spaces around it: around a number, a date or a truth value they mean nothing.
fn trimmed(bytes: &[u8]) -> &[u8] {
    match bytes {
        // Nearly every cell there is.
        [first, .., last] if *first > b' ' && *last > b' ' => bytes,
        _ => bytes.trim_ascii(),
    }
}

/// Digits of an integer that fits whatever they are.
const SAFE_DIGITS: usize = 18;

/// `-12`, `+3`, `1529.0`; not `1529.5`, `1e3`, `1,000` or `0x1F`.
pub(super) fn int64(cell: &[u8]) -> Option<i64> {
    let text = trimmed(cell);
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let mut n: i64 = 0;
    let mut whole = 0;
    for b in digits {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        // Downwards, so that the smallest number has its place.
        n = if whole < SAFE_DIGITS { n * 10 - i64::from(digit) } else { n.checked_mul(10)?.checked_sub(i64::from(digit))? };
        whole += 1;
    }
    let zero_fraction = match &digits[whole..] {
        [] => true,
        [b'.', fraction @ ..] => fraction.iter().all(|b| *b == b'0'),
        _ => false,
    };
    if whole == 0 || !zero_fraction {
        return None;
    }
    if negative { Some(n) } else { n.checked_neg() }
}

/// A decimal number, with or without exponent; `NaN` and infinities are refused, for they are no observations.
pub(super) fn float64(cell: &[u8]) -> Option<f64> {
    fast_float2::parse::<f64, _>(trimmed(cell)).ok().filter(|n| n.is_finite())
}

/// An exact decimal as the integer `value × 10^scale`; more digits than the scale has are refused unless they are zeros.
pub(super) fn decimal(cell: &[u8], precision: u8, scale: i8) -> Option<i128> {
    let text = trimmed(cell);
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (whole, fraction) = match memchr::memchr(b'.', digits) {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let scale = usize::from(scale.unsigned_abs());
    let kept = fraction.len().min(scale);
    if fraction[kept..].iter().any(|b| *b != b'0') {
        return None;
    }
    let padding = std::iter::repeat_n(&b'0', scale - kept);
    let mut n: i128 = 0;
    for b in whole.iter().chain(&fraction[..kept]).chain(padding) {
        let digit = i128::from(b.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        n = n.checked_mul(10)?.checked_add(digit)?;
    }
    if n >= 10i128.checked_pow(u32::from(precision))? {
        return None;
    }
    Some(if negative { -n } else { n })
}

/// The words listed at [`ColumnType::Bool`].
pub(super) fn boolean(cell: &[u8]) -> Option<bool> {
    let text = trimmed(cell);
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word.as_bytes()));
    if is(&["true", "t", "yes", "y", "1"]) {
        Some(true)
    } else if is(&["false", "f", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// Days since 1970-01-01.
pub(super) fn date(cell: &[u8], formats: &[String]) -> Option<i32> {
    let text = trimmed(cell);
    if formats.is_empty()
        && let Some(days) = iso_date(text)
    {
        return Some(days);
    }
    let text = std::str::from_utf8(text).ok()?;
    let day = formats.iter().find_map(|format| jiff::civil::Date::strptime(format, text).ok()).map(days_of);
    day.or_else(|| iso_date(text.as_bytes()))
}

fn days_of(day: jiff::civil::Date) -> i32 {
    days_from_civil(i32::from(day.year()), u32::from(day.month().unsigned_abs()), u32::from(day.day().unsigned_abs()))
}

/// `YYYY-MM-DD`, and only a day that exists.
fn iso_date(text: &[u8]) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let digit = |b: &u8| b.is_ascii_digit().then(|| u32::from(b - b'0'));
    let year = digit(y1)? * 1000 + digit(y2)? * 100 + digit(y3)? * 10 + digit(y4)?;
    let month = digit(m1)? * 10 + digit(m2)?;
    let day = digit(d1)? * 10 + digit(d2)?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u32::from(leap),
        _ => return None,
    };
    (1..=last).contains(&day).then(|| days_from_civil(i32::try_from(year).unwrap_or(0), month, day))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let month_from_march = i32::try_from((month + 9) % 12).unwrap_or(0);
    let day_of_year = (153 * month_from_march + 2) / 5 + i32::try_from(day).unwrap_or(1) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Microseconds since 1970-01-01T00:00:00Z. Without an offset the text is read as UTC.
pub(super) fn timestamp(cell: &[u8], formats: &[String]) -> Option<i64> {
    let text = std::str::from_utf8(trimmed(cell)).ok()?;
    for format in formats {
        if let Ok(parsed) = jiff::fmt::strtime::parse(format, text) {
            if let Ok(moment) = parsed.to_timestamp() {
                return Some(moment.as_microsecond());
            }
            if let Ok(civil) = parsed.to_datetime() {
                return utc(civil);
            }
        }
    }
    // A bare number or time of day must not pass for a moment.
    if text.len() < 10 || text.as_bytes()[4] != b'-' {
        return None;
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment.as_microsecond());
    }
    text.parse::<jiff::civil::DateTime>().ok().and_then(utc)
}

fn utc(civil: jiff::civil::DateTime) -> Option<i64> {
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|moment| moment.timestamp().as_microsecond())
}

/// What is wrong with a cell, for people.
pub(super) fn complaint(column: &Column, cell: &[u8]) -> String {
    let text = String::from_utf8_lossy(cell);
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let shown = if column.sensitive { "the value".to_owned() } else { format!("`{shown}`") };
    let wanted = match column.kind {
        ColumnType::String => "text".to_owned(),
        ColumnType::Int64 => "a whole number".to_owned(),
        ColumnType::Float64 => "a number".to_owned(),
        ColumnType::Decimal(precision, scale) => format!("a decimal with up to {precision} digits, {scale} of them after the point"),
        ColumnType::Bool => "true or false".to_owned(),
        ColumnType::Date if column.formats.is_empty() => "a date as YYYY-MM-DD".to_owned(),
        ColumnType::Date => format!("a date as {} or YYYY-MM-DD", column.formats.join(", ")),
        ColumnType::Timestamp => "a moment in ISO 8601".to_owned(),
    };
    format!("{shown} is not {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_accept_a_zero_fraction_and_nothing_looser() {
        for (text, n) in
            [("12", 12), ("-7", -7), ("+3", 3), ("1529.0", 1529), ("5.", 5), (" 8 ", 8), ("-9223372036854775808", i64::MIN), ("00012", 12)]
        {
            assert_eq!(int64(text.as_bytes()), Some(n), "{text}");
        }
        for text in ["", "-", ".0", "1529.5", "1e3", "1,000", "0x1F", "12a", "9223372036854775808", "NaN", "--1"] {
            assert_eq!(int64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn dates_are_days_that_exist() {
        assert_eq!(date(b"1970-01-01", &[]), Some(0));
        assert_eq!(date(b"2020-02-29", &[]), Some(18_321));
        assert_eq!(date(b"0001-01-01", &[]), Some(-719_162));
        for text in ["2021-02-29", "2020-13-01", "2020-1-01", "20200101", "01/02/2020", "2020-01-00"] {
            assert_eq!(date(text.as_bytes(), &[]), None, "{text}");
        }
        let us = vec!["%m/%d/%Y".to_owned()];
        assert_eq!(date(b"02/29/2020", &us), Some(18_321));
        assert_eq!(date(b"2020-02-29", &us), Some(18_321));
        assert_eq!(date(b"29/02/2020", &us), None);
    }

    #[test]
    fn days_agree_with_a_calendar_library() {
        let mut day = jiff::civil::date(1583, 1, 1);
        let epoch = jiff::civil::date(1970, 1, 1);
        while day.year() < 2400 {
            let expected = (day - epoch).get_days();
            assert_eq!(date(day.to_string().as_bytes(), &[]), Some(expected), "{day}");
            day = day.saturating_add(jiff::Span::new().days(97));
        }
    }

    #[test]
    fn timestamps_know_offsets_and_take_none_for_utc() {
        assert_eq!(timestamp(b"1970-01-01T00:00:01Z", &[]), Some(1_000_000));
        assert_eq!(timestamp(b"1970-01-01T01:00:00+01:00", &[]), Some(0));
        assert_eq!(timestamp(b"1970-01-01 00:00:00.5", &[]), Some(500_000));
        assert_eq!(timestamp(b"1970-01-02", &[]), Some(86_400_000_000));
        for text in ["12:00", "1970", "yesterday", "1970-13-01T00:00:00Z"] {
            assert_eq!(timestamp(text.as_bytes(), &[]), None, "{text}");
        }
        assert_eq!(timestamp(b"01.02.1970 00:00", &["%d.%m.%Y %H:%M".to_owned()]), Some(31 * 86_400_000_000));
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(decimal(b"12.34", 18, 2), Some(1234));
        assert_eq!(decimal(b"-12.3", 18, 2), Some(-1230));
        assert_eq!(decimal(b".5", 3, 1), Some(5));
        assert_eq!(decimal(b"12.340", 18, 2), Some(1234));
        assert_eq!(decimal(b"12.345", 18, 2), None);
        assert_eq!(decimal(b"1000", 3, 0), None);
        assert_eq!(decimal(b"", 3, 0), None);
    }

    #[test]
    fn floats_are_numbers() {
        assert_eq!(float64(b"1.5e3"), Some(1500.0));
        for text in ["NaN", "inf", "", "1,5", "one"] {
            assert_eq!(float64(text.as_bytes()), None, "{text}");
        }
    }
}
