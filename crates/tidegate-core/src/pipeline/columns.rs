//! Columns of a source and the types they may have.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt, str::FromStr};

/// A column of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// `string`, `int64`, `float64`, `decimal(P,S)`, `bool`, `date` or `timestamp`.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Name in the published file, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whether an empty cell rejects the row.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Whether the column may be missing from the file; it is then null everywhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// A SQL expression over the row; a row for which it is false is rejected (null passes, as in a SQL CHECK).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// Formats of a `date` or `timestamp` in strftime notation, tried in order before ISO 8601; nothing is guessed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub formats: Vec<String>,
    /// Values never leave the table: they are masked in events, quarantine, errors and notifications (INV-7).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
    /// What the column means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Column {
    /// A column of this type with nothing else set.
    pub fn new(kind: ColumnType) -> Self {
        Self { kind, from: None, required: false, optional: false, check: None, formats: Vec::new(), sensitive: false, description: None }
    }
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// UTF-8 text.
    String,
    /// 64-bit signed integer. `1529.0` is accepted, `1529.5` is not.
    Int64,
    /// 64-bit IEEE 754 number.
    Float64,
    /// Exact decimal number with this many digits in all, and this many after the point.
    Decimal(u8, i8),
    /// `true`/`false`, `t`/`f`, `yes`/`no`, `y`/`n`, `1`/`0`, in any case.
    Bool,
    /// Calendar day.
    Date,
    /// Moment in UTC, in microseconds; text without an offset is read as UTC.
    Timestamp,
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String => f.write_str("string"),
            Self::Int64 => f.write_str("int64"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal(precision, scale) => write!(f, "decimal({precision},{scale})"),
            Self::Bool => f.write_str("bool"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
        }
    }
}

impl FromStr for ColumnType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.trim();
        Ok(match word {
            "string" => Self::String,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "bool" => Self::Bool,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            _ => return decimal(word).ok_or_else(|| unknown(word)),
        })
    }
}

fn decimal(word: &str) -> Option<ColumnType> {
    let (precision, scale) = word.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    let (precision, scale) = (precision.trim().parse::<u8>().ok()?, scale.trim().parse::<i8>().ok()?);
    ((1..=38).contains(&precision) && scale >= 0 && scale.unsigned_abs() <= precision).then_some(ColumnType::Decimal(precision, scale))
}

fn unknown(word: &str) -> String {
    let meant = match word.to_ascii_lowercase().as_str() {
        "int" | "integer" | "long" | "bigint" | "i64" | "int32" => Some("int64"),
        "float" | "double" | "number" | "real" | "f64" => Some("float64"),
        "text" | "str" | "varchar" => Some("string"),
        "boolean" => Some("bool"),
        "datetime" | "timestamptz" => Some("timestamp"),
        "decimal" | "numeric" => Some("decimal(18,2)"),
        _ => None,
    };
    if word.starts_with("decimal(") && !word.ends_with(')') {
        // `{ type: decimal(10,2) }` is cut at the comma.
        return format!("there is no type `{word}`; a type with a comma is quoted: `\"decimal(10,2)\"`");
    }
    let known = "string, int64, float64, decimal(P,S), bool, date, timestamp";
    match meant {
        Some(meant) => format!("there is no type `{word}`; did you mean `{meant}`? (types: {known})"),
        None => format!("there is no type `{word}` (types: {known})"),
    }
}

impl<'de> Deserialize<'de> for ColumnType {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl Serialize for ColumnType {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_str(self)
    }
}

impl JsonSchema for ColumnType {
    fn schema_name() -> Cow<'static, str> {
        "ColumnType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "anyOf": [
                { "enum": ["string", "int64", "float64", "bool", "date", "timestamp"] },
                { "pattern": r"^decimal\(\s*[0-9]{1,2}\s*,\s*[0-9]{1,2}\s*\)$" }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_survive_their_names() {
        for kind in [
            ColumnType::String,
            ColumnType::Int64,
            ColumnType::Float64,
            ColumnType::Decimal(18, 2),
            ColumnType::Bool,
            ColumnType::Date,
            ColumnType::Timestamp,
        ] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
    }

    #[test]
    fn a_wrong_type_names_the_one_that_was_meant() {
        assert!("integer".parse::<ColumnType>().unwrap_err().contains("did you mean `int64`"));
        assert!("decimal(3,9)".parse::<ColumnType>().is_err());
        assert!("decimal(10".parse::<ColumnType>().unwrap_err().contains("is quoted"));
    }
}
