use super::*;
use serde_json::json;

fn matches(policy: Value, attributes: Value) -> bool {
    let attributes: Attributes = serde_json::from_value(attributes).unwrap();
    Policy::parse(&policy).unwrap().matches(&attributes)
}

#[test]
fn keys_are_and_conditions_are_or() {
    let policy = json!({ "outcome": ["failed", "held"], "environment": ["prod"] });
    assert!(matches(policy.clone(), json!({ "outcome": "held", "environment": "prod", "more": 1 })));
    assert!(!matches(policy.clone(), json!({ "outcome": "held", "environment": "test" })));
    assert!(!matches(policy, json!({ "outcome": "held" })));
    assert!(matches(json!({}), json!({})));
}

#[test]
fn exact_compares_numbers_by_value_and_keeps_types_apart() {
    assert!(matches(json!({ "n": [1] }), json!({ "n": 1.0 })));
    assert!(!matches(json!({ "n": ["1"] }), json!({ "n": 1 })));
    assert!(matches(json!({ "b": [true] }), json!({ "b": true })));
    assert!(matches(json!({ "x": [null] }), json!({ "x": null })));
}

#[test]
fn anything_but_needs_the_attribute() {
    assert!(matches(json!({ "a": [{ "anything-but": ["x", 3] }] }), json!({ "a": "y" })));
    assert!(!matches(json!({ "a": [{ "anything-but": ["x", 3] }] }), json!({ "a": 3 })));
    assert!(!matches(json!({ "a": [{ "anything-but": "x" }] }), json!({})));
    assert!(!matches(json!({ "a": [{ "anything-but": { "prefix": "te" } }] }), json!({ "a": "test" })));
    assert!(matches(json!({ "a": [{ "anything-but": { "suffix": ["st", "z"] } }] }), json!({ "a": "tex" })));
}

#[test]
fn lists_match_by_any_member_and_are_excluded_by_any() {
    assert!(matches(json!({ "a": ["x"] }), json!({ "a": ["y", "x"] })));
    assert!(!matches(json!({ "a": [{ "anything-but": ["x"] }] }), json!({ "a": ["y", "x"] })));
}

#[test]
fn prefix_suffix_and_case() {
    assert!(matches(json!({ "a": [{ "prefix": "cov" }] }), json!({ "a": "covid19" })));
    assert!(matches(json!({ "a": [{ "suffix": "19" }] }), json!({ "a": "covid19" })));
    assert!(matches(json!({ "a": [{ "equals-ignore-case": "COVID19" }] }), json!({ "a": "covid19" })));
    assert!(!matches(json!({ "a": [{ "prefix": "1" }] }), json!({ "a": 19 })));
}

#[test]
fn numeric_bounds_are_and() {
    let policy = json!({ "n": [{ "numeric": [">", 0, "<=", 10] }] });
    assert!(matches(policy.clone(), json!({ "n": 10 })));
    assert!(!matches(policy.clone(), json!({ "n": 0 })));
    assert!(!matches(policy, json!({ "n": "5" })));
    assert!(matches(json!({ "n": [{ "numeric": ["=", 3.5] }] }), json!({ "n": 3.5 })));
}

#[test]
fn exists_asks_only_for_presence() {
    assert!(matches(json!({ "a": [{ "exists": false }] }), json!({})));
    assert!(!matches(json!({ "a": [{ "exists": false }] }), json!({ "a": null })));
    assert!(matches(json!({ "a": [{ "exists": true }] }), json!({ "a": 0 })));
}

#[test]
fn or_needs_one_alternative_besides_the_other_keys() {
    let policy = json!({ "p": ["x"], "$or": [{ "new": [{ "numeric": [">", 0] }] }, { "outcome": ["held"] }] });
    assert!(matches(policy.clone(), json!({ "p": "x", "new": 1 })));
    assert!(matches(policy.clone(), json!({ "p": "x", "new": 0, "outcome": "held" })));
    assert!(!matches(policy, json!({ "p": "x", "new": 0 })));
}

#[test]
fn what_is_not_a_policy_is_refused_with_its_reason() {
    for (policy, says) in [
        (json!([]), "a filter policy is a map"),
        (json!({ "a": [] }), "no condition"),
        (json!({ "a": [{ "begins": "x" }] }), "no operator `begins`"),
        (json!({ "a": [{ "numeric": [">", "x"] }] }), "`numeric` takes"),
        (json!({ "a": [{ "prefix": "x", "suffix": "y" }] }), "exactly one operator"),
        (json!({ "$or": [{}] }), "at least two"),
    ] {
        let error = Policy::parse(&policy).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_policy_survives_its_json() {
    let policy =
        Policy::parse(&json!({ "a": ["x", { "numeric": [">", 1] }], "$or": [{ "b": [1] }, { "c": [{ "exists": false }] }] })).unwrap();
    let again: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
    assert_eq!(policy, again);
}
