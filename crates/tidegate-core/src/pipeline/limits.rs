//! Limits as people write them: `10%`, `500`, `512MB`, `10m`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr, time::Duration};

/// Bounds that hold under load (INV-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Memory for SQL, sorting and the diff; more goes to disk.
    pub memory: ByteSize,
    /// Largest publication of one source.
    pub max_bytes: ByteSize,
    /// Rejected rows of one run that are kept one by one; a run with more fails.
    pub max_quarantine: u64,
    /// How long raw publications that no run needs any more are kept.
    pub keep_raw: Span,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: ByteSize(512 << 20),
            max_bytes: ByteSize(16 << 30),
            max_quarantine: 100_000,
            keep_raw: Span(Duration::from_secs(400 * 24 * 3600)),
        }
    }
}

/// A number of rows, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// At most this many.
    Rows(u64),
    /// At most this share, in percent (0 to 100).
    Percent(f64),
}

impl Limit {
    /// Whether `count` out of `total` is more than the limit allows. A share of nothing is never exceeded.
    pub fn exceeded(self, count: u64, total: u64) -> bool {
        match self {
            Limit::Rows(most) => count > most,
            #[allow(clippy::cast_precision_loss, reason = "row counts are far below 2^52")]
            Limit::Percent(most) => total > 0 && count as f64 * 100.0 > most * total as f64,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Rows(n) => write!(f, "{n}"),
            Limit::Percent(p) => write!(f, "{p}%"),
        }
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || format!("`{text}` is neither a number of rows (`500`) nor a share (`10%`)");
        match text.strip_suffix('%') {
            Some(share) => match share.trim().parse::<f64>() {
                Ok(p) if (0.0..=100.0).contains(&p) => Ok(Limit::Percent(p)),
                _ => Err(wrong()),
            },
            None => text.parse().map(Limit::Rows).map_err(|_| wrong()),
        }
    }
}

/// A number of bytes: `512MB`, `1GiB`, or plain bytes. `KB`, `MB`, `GB` are powers of 1000; `KiB`, `MiB`, `GiB` of 1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("GiB", 1u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1000)];
        match units.iter().filter(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)).max_by_key(|(_, unit)| *unit) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let unit = match text[digits..].trim() {
            "" | "B" => Some(1),
            "KB" | "kB" => Some(1000),
            "MB" => Some(1_000_000),
            "GB" => Some(1_000_000_000),
            "KiB" => Some(1 << 10),
            "MiB" => Some(1 << 20),
            "GiB" => Some(1 << 30),
            _ => None,
        };
        text[..digits]
            .parse::<u64>()
            .ok()
            .zip(unit)
            .and_then(|(n, unit)| n.checked_mul(unit))
            .map(ByteSize)
            .ok_or_else(|| format!("`{text}` is not a size such as `512MB` or `1GiB`"))
    }
}

/// A length of time: `500ms`, `90s`, `10m`, `6h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if self.0.subsec_millis() > 0 {
            return write!(f, "{}ms", self.0.as_millis());
        }
        let units = [("d", 86_400), ("h", 3600), ("m", 60)];
        match units.iter().find(|(_, unit)| seconds >= *unit && seconds.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", seconds / unit),
            None => write!(f, "{seconds}s"),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let unit: Option<u64> = match &text[digits..] {
            "ms" => Some(1),
            "s" => Some(1000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            "d" => Some(86_400_000),
            _ => None,
        };
        text[..digits]
            .parse::<u64>()
            .ok()
            .zip(unit)
            .and_then(|(n, unit)| n.checked_mul(unit))
            .map(|millis| Span(Duration::from_millis(millis)))
            .ok_or_else(|| format!("`{text}` is not a length of time such as `90s`, `10m`, `6h` or `30d`"))
    }
}

/// Reads a scalar that may stand in the file as a number or as text.
struct Scalar<T>(std::marker::PhantomData<T>);

impl<T: FromStr<Err = String>> de::Visitor<'_> for Scalar<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or a short text with a unit")
    }

    fn visit_u64<E: de::Error>(self, n: u64) -> Result<T, E> {
        n.to_string().parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, n: i64) -> Result<T, E> {
        n.to_string().parse().map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

macro_rules! scalar {
    ($type:ty, $name:literal, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(Scalar(std::marker::PhantomData))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
                into.collect_str(self)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

scalar!(Limit, "Limit", { "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": r"^[0-9.]+\s*%?$" }], "description": "a number of rows, or a share such as `10%`" });
scalar!(ByteSize, "ByteSize", { "anyOf": [{ "type": "integer", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]+\\s*(B|[kKMG]B|[KMG]iB)?$" }], "description": "a number of bytes such as `512MB` or `1GiB`" });
scalar!(Span, "Span", { "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "description": "a length of time such as `90s`, `10m`, `6h`, `30d`" });

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_exceeded_only_above_them() {
        assert!(!Limit::Percent(10.0).exceeded(10, 100));
        assert!(Limit::Percent(10.0).exceeded(11, 100));
        assert!(!Limit::Percent(10.0).exceeded(5, 0));
        assert!(Limit::Rows(0).exceeded(1, 0));
    }

    #[test]
    fn sizes_and_spans_survive_their_text() {
        for text in ["512MiB", "1GiB", "1001B", "3KiB", "512MB"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        assert_eq!("512MB".parse::<ByteSize>().unwrap().0, 512_000_000);
        for text in ["250ms", "90s", "10m", "6h", "30d"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert!("10".parse::<Span>().is_err());
        assert!("99999999999999999999GB".parse::<ByteSize>().is_err());
        assert!("101%".parse::<Limit>().is_err());
    }
}
