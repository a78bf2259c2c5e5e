//! Filter policies: which messages a subscriber wants, with the semantics of Amazon SNS subscription filter policies
//! on message attributes (<https://docs.aws.amazon.com/sns/latest/dg/sns-subscription-filter-policies.html>).
//!
//! Every key must match (AND); of a key's conditions one must (OR). A key that the message does not have matches only
//! `{ exists: false }`. A list-valued attribute matches if one of its members does; `anything-but` if none is excluded.
//! Beyond SNS, a single condition may stand without its list.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

/// What a message says about itself.
pub type Attributes = BTreeMap<String, Value>;

/// A filter policy.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Policy {
    keys: BTreeMap<String, Vec<Condition>>,
    any_of: Vec<Policy>,
}

/// One condition on one attribute.
#[derive(Debug, Clone, PartialEq)]
enum Condition {
    Exact(Value),
    AnythingBut(Vec<Value>),
    AnythingButPrefix(Vec<String>),
    AnythingButSuffix(Vec<String>),
    Prefix(String),
    Suffix(String),
    EqualsIgnoreCase(String),
    Numeric(Vec<(Comparison, f64)>),
    Exists(bool),
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Policy {
    /// Whether a message with these attributes is wanted.
    pub fn matches(&self, attributes: &Attributes) -> bool {
        self.keys.iter().all(|(key, conditions)| {
            let value = attributes.get(key);
            conditions.iter().any(|condition| condition.matches(value))
        }) && (self.any_of.is_empty() || self.any_of.iter().any(|policy| policy.matches(attributes)))
    }

    /// The attribute names the policy looks at.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.keys.keys().map(String::as_str).chain(self.any_of.iter().flat_map(|policy| policy.keys.keys().map(String::as_str)))
    }

    /// Reads a policy as it stands in JSON or YAML.
    pub fn parse(value: &Value) -> Result<Self, String> {
        let Value::Object(map) = value else { return Err("a filter policy is a map from attribute names to conditions".to_owned()) };
        let mut policy = Policy::default();
        for (key, conditions) in map {
            match (key.as_str(), conditions) {
                ("$or", Value::Array(alternatives)) => {
                    if alternatives.len() < 2 {
                        return Err("`$or` needs at least two alternatives".to_owned());
                    }
                    policy.any_of = alternatives.iter().map(Policy::parse).collect::<Result<_, _>>()?;
                }
                (_, Value::Array(list)) if list.is_empty() => return Err(format!("`{key}` has no condition")),
                (_, Value::Array(list)) => {
                    let conditions = list.iter().map(Condition::parse).collect::<Result<_, _>>();
                    policy.keys.insert(key.clone(), conditions.map_err(|why| format!("`{key}`: {why}"))?);
                }
                (_, single) => {
                    let condition = Condition::parse(single).map_err(|why| format!("`{key}`: {why}"))?;
                    policy.keys.insert(key.clone(), vec![condition]);
                }
            }
        }
        Ok(policy)
    }

    /// The attributes it asks about, each with the plain values it compares it with.
    pub fn asks(&self) -> Vec<(&str, Vec<&Value>)> {
        let own = self.keys.iter().map(|(key, conditions)| (key.as_str(), conditions.iter().filter_map(Condition::exact).collect()));
        own.chain(self.any_of.iter().flat_map(Policy::asks)).collect()
    }

    fn to_json(&self) -> Value {
        let mut map: serde_json::Map<String, Value> =
            self.keys.iter().map(|(key, conditions)| (key.clone(), conditions.iter().map(Condition::to_json).collect())).collect();
        if !self.any_of.is_empty() {
            map.insert("$or".to_owned(), self.any_of.iter().map(Policy::to_json).collect());
        }
        Value::Object(map)
    }
}

impl Condition {
    fn exact(&self) -> Option<&Value> {
        match self {
            Self::Exact(value) => Some(value),
            _ => None,
        }
    }

    fn matches(&self, value: Option<&Value>) -> bool {
        if let Condition::Exists(wanted) = self {
            return value.is_some() == *wanted;
        }
        let Some(value) = value else { return false };
        let members: &[Value] = match value {
            Value::Array(members) => members,
            single => std::slice::from_ref(single),
        };
        match self {
            Self::AnythingBut(excluded) => !members.iter().any(|member| excluded.iter().any(|other| same(member, other))),
            Self::AnythingButPrefix(prefixes) => {
                !members.iter().filter_map(Value::as_str).any(|text| prefixes.iter().any(|prefix| text.starts_with(prefix)))
            }
            Self::AnythingButSuffix(suffixes) => {
                !members.iter().filter_map(Value::as_str).any(|text| suffixes.iter().any(|suffix| text.ends_with(suffix)))
            }
            _ => members.iter().any(|member| self.matches_one(member)),
        }
    }

    fn matches_one(&self, member: &Value) -> bool {
        match self {
            Self::Exact(wanted) => same(member, wanted),
            Self::Prefix(prefix) => member.as_str().is_some_and(|text| text.starts_with(prefix)),
            Self::Suffix(suffix) => member.as_str().is_some_and(|text| text.ends_with(suffix)),
            Self::EqualsIgnoreCase(wanted) => member.as_str().is_some_and(|text| text.to_lowercase() == wanted.to_lowercase()),
            Self::Numeric(bounds) => member.as_f64().is_some_and(|n| bounds.iter().all(|(comparison, bound)| comparison.holds(n, *bound))),
            Self::Exists(_) | Self::AnythingBut(_) | Self::AnythingButPrefix(_) | Self::AnythingButSuffix(_) => false,
        }
    }

    fn parse(value: &Value) -> Result<Self, String> {
        let Value::Object(map) = value else {
            return match value {
                Value::Array(_) => Err("a list within a list of conditions".to_owned()),
                scalar => Ok(Condition::Exact(scalar.clone())),
            };
        };
        let mut entries = map.iter();
        let (Some((operator, operand)), None) = (entries.next(), entries.next()) else {
            return Err("a condition has exactly one operator".to_owned());
        };
        let text = |operand: &Value| operand.as_str().map(str::to_owned).ok_or_else(|| format!("`{operator}` needs a text"));
        match operator.as_str() {
            "anything-but" => match operand {
                Value::Object(inner) if inner.len() == 1 => {
                    if let Some(prefix) = inner.get("prefix") {
                        texts(prefix).map(Self::AnythingButPrefix)
                    } else if let Some(suffix) = inner.get("suffix") {
                        texts(suffix).map(Self::AnythingButSuffix)
                    } else {
                        Err("`anything-but` takes values, or a `prefix` or `suffix`".to_owned())
                    }
                }
                Value::Array(list) if !list.is_empty() => Ok(Self::AnythingBut(list.clone())),
                Value::Object(_) | Value::Array(_) => Err("`anything-but` takes values, or a `prefix` or `suffix`".to_owned()),
                scalar => Ok(Self::AnythingBut(vec![scalar.clone()])),
            },
            "prefix" => text(operand).map(Self::Prefix),
            "suffix" => text(operand).map(Self::Suffix),
            "equals-ignore-case" => text(operand).map(Self::EqualsIgnoreCase),
            "exists" => operand.as_bool().map(Self::Exists).ok_or_else(|| "`exists` needs `true` or `false`".to_owned()),
            "numeric" => Comparison::parse(operand).map(Self::Numeric),
            other => Err(format!(
                "there is no operator `{other}` (operators: anything-but, prefix, suffix, equals-ignore-case, numeric, exists)"
            )),
        }
    }

    fn to_json(&self) -> Value {
        use serde_json::json;
        match self {
            Self::Exact(value) => value.clone(),
            Self::AnythingBut(values) => json!({ "anything-but": values }),
            Self::AnythingButPrefix(prefixes) => json!({ "anything-but": { "prefix": prefixes } }),
            Self::AnythingButSuffix(suffixes) => json!({ "anything-but": { "suffix": suffixes } }),
            Self::Prefix(text) => json!({ "prefix": text }),
            Self::Suffix(text) => json!({ "suffix": text }),
            Self::EqualsIgnoreCase(text) => json!({ "equals-ignore-case": text }),
            Self::Exists(wanted) => json!({ "exists": wanted }),
            Self::Numeric(bounds) => {
                let list: Vec<Value> = bounds.iter().flat_map(|(comparison, bound)| [json!(comparison.as_str()), json!(bound)]).collect();
                json!({ "numeric": list })
            }
        }
    }
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let wrong = || "a prefix or suffix is a text or a list of texts".to_owned();
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(list) => list.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect(),
        _ => Err(wrong()),
    }
}

/// Numbers are equal by value (`1` is `1.0`); everything else as it stands.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        #[allow(clippy::float_cmp, reason = "an exact condition means exactly this number")]
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

impl Comparison {
    fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }

    #[allow(clippy::float_cmp, reason = "`=` means exactly this number")]
    fn holds(self, n: f64, bound: f64) -> bool {
        match self {
            Self::Equal => n == bound,
            Self::Less => n < bound,
            Self::LessOrEqual => n <= bound,
            Self::Greater => n > bound,
            Self::GreaterOrEqual => n >= bound,
        }
    }

    /// `[">", 0]` or `[">", 0, "<=", 100]`
    fn parse(operand: &Value) -> Result<Vec<(Self, f64)>, String> {
        let wrong = || "`numeric` takes `[\">\", 0]` or `[\">\", 0, \"<=\", 100]`".to_owned();
        let list = operand.as_array().filter(|list| list.len() == 2 || list.len() == 4).ok_or_else(wrong)?;
        list.chunks(2)
            .map(|pair| {
                let comparison = [Self::Equal, Self::Less, Self::LessOrEqual, Self::Greater, Self::GreaterOrEqual]
                    .into_iter()
                    .find(|comparison| pair[0].as_str() == Some(comparison.as_str()));
                comparison.zip(pair[1].as_f64()).ok_or_else(wrong)
            })
            .collect()
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Policy::parse(&Value::deserialize(from)?).map_err(de::Error::custom)
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(into)
    }
}

impl JsonSchema for Policy {
    fn schema_name() -> Cow<'static, str> {
        "Policy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "description": "A filter policy: attribute names to conditions, as in Amazon SNS." })
    }
}

#[cfg(test)]
mod tests;
