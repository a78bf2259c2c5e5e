//! The table that comes out: its key, its mode, what must hold.

use super::Limit;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::{borrow::Cow, fmt};

/// The table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Name of the table: lower-case letters, digits and `_`, beginning with a letter.
    pub name: String,
    /// The columns that identify a row. Needed by `mirror` and `merge`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// What happens to rows that are no longer published.
    #[serde(default)]
    pub mode: Mode,
    /// Limits on what a run may change; beyond them it is held. `off` switches all of them off.
    #[serde(default)]
    pub guards: Guards,
    /// SQL that finds rows which must not be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
}

/// What a run does to the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The table says what the sources say: rows gone upstream are removed.
    #[default]
    Mirror,
    /// New rows are added and changed rows replaced; rows gone upstream stay.
    Merge,
    /// Rows are only ever added. With a key, a row whose key is there is unchanged if it is the same, and rejected if it is not.
    Append,
    /// The whole table is replaced by the produced rows. Without a key, a row is identified by all of its values.
    Replace,
}

impl Mode {
    /// Whether rows that are no longer produced leave the table.
    pub fn removes(self) -> bool {
        matches!(self, Mode::Mirror | Mode::Replace)
    }
}

/// Limits on what a run may change.
#[derive(Debug, Clone, PartialEq)]
pub struct Guards {
    /// Most rows a run may remove, of those in the table before.
    pub max_removed: Option<Limit>,
    /// Most rows a run may change, of those in the table before.
    pub max_updated: Option<Limit>,
    /// Most rows a run may add, of those in the table before; the first load is free.
    pub max_new: Option<Limit>,
    /// Most rows of a source that may be rejected, of those read.
    pub max_rejected: Option<Limit>,
    /// Fewest rows the table may have afterwards.
    pub min_rows: Option<u64>,
}

impl Guards {
    /// No limits at all.
    pub fn off() -> Self {
        Self { max_removed: None, max_updated: None, max_new: None, max_rejected: None, min_rows: None }
    }
}

/// 10 % removed and 5 % rejected: what protects somebody who has not thought about it yet.
impl Default for Guards {
    fn default() -> Self {
        Self { max_removed: Some(Limit::Percent(10.0)), max_rejected: Some(Limit::Percent(5.0)), ..Self::off() }
    }
}

/// The guards as they stand in the file. A limit that is not given keeps its default; `off` lifts it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "default_removed")]
    max_removed: Switchable,
    #[serde(default)]
    max_updated: Switchable,
    #[serde(default)]
    max_new: Switchable,
    #[serde(default = "default_rejected")]
    max_rejected: Switchable,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_rows: Option<u64>,
}

fn default_removed() -> Switchable {
    Switchable(Guards::default().max_removed)
}

fn default_rejected() -> Switchable {
    Switchable(Guards::default().max_rejected)
}

/// A limit or `off`.
#[derive(Default)]
struct Switchable(Option<Limit>);

impl<'de> Deserialize<'de> for Switchable {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visit;
        impl de::Visitor<'_> for Visit {
            type Value = Switchable;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of rows, a share such as `10%`, or `off`")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Switchable, E> {
                if on {
                    Err(E::custom("`on` is not a limit; give a number of rows or a share such as `10%`"))
                } else {
                    Ok(Switchable(None))
                }
            }

            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Switchable, E> {
                Ok(Switchable(Some(Limit::Rows(n))))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Switchable, E> {
                if text == "off" { Ok(Switchable(None)) } else { text.parse().map(|limit| Switchable(Some(limit))).map_err(E::custom) }
            }
        }
        from.deserialize_any(Visit)
    }
}

impl Serialize for Switchable {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(limit) => limit.serialize(into),
            None => into.serialize_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for Guards {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> de::Visitor<'de> for Visit {
            type Value = Guards;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`off`, or limits such as `{ max_removed: 10% }`")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Guards, E> {
                Ok(if on { Guards::default() } else { Guards::off() })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Guards, E> {
                match text {
                    "off" => Ok(Guards::off()),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Guards, A::Error> {
                let w = Written::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Guards {
                    max_removed: w.max_removed.0,
                    max_updated: w.max_updated.0,
                    max_new: w.max_new.0,
                    max_rejected: w.max_rejected.0,
                    min_rows: w.min_rows,
                })
            }
        }
        from.deserialize_any(Visit)
    }
}

impl Serialize for Guards {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        Written {
            max_removed: Switchable(self.max_removed),
            max_updated: Switchable(self.max_updated),
            max_new: Switchable(self.max_new),
            max_rejected: Switchable(self.max_rejected),
            min_rows: self.min_rows,
        }
        .serialize(into)
    }
}

impl JsonSchema for Guards {
    fn schema_name() -> Cow<'static, str> {
        "Guards".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let limit = generator.subschema_for::<Limit>();
        let switchable = json_schema!({ "anyOf": [limit, { "const": "off" }, { "const": false }] });
        let with = |text: &str| {
            let mut schema = switchable.clone();
            schema.insert("description".into(), text.into());
            schema
        };
        json_schema!({
            "description": "`off`, or limits; a run beyond one of them is held",
            "anyOf": [{ "const": "off" }, { "type": "boolean" }, {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "max_removed": with("Most rows a run may remove, of those in the table before (default 10%)."),
                    "max_updated": with("Most rows a run may change, of those in the table before (default off)."),
                    "max_new": with("Most rows a run may add, of those in the table before; the first load is free (default off)."),
                    "max_rejected": with("Most rows of a source that may be rejected, of those read (default 5%)."),
                    "min_rows": { "type": "integer", "minimum": 0, "description": "Fewest rows the table may have afterwards." }
                }
            }]
        })
    }
}

/// A check on the table as it would be after the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// What holds when the check passes, in words.
    pub name: String,
    /// A SELECT that returns the violations. It may read the table under its name, `previous` (the table before),
    /// `changes` (what the run changes) and the sources.
    pub sql: String,
    /// What a violation does.
    #[serde(default)]
    pub severity: Severity,
}

/// What a violated check does to the run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Published, and people are told.
    Warn,
    /// Held for a person or for the next publication that passes.
    Hold,
    /// The run fails and nothing is written.
    #[default]
    Error,
}
