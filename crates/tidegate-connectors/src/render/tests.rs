use super::*;
use jiff::Timestamp;
use tidegate_core::{
    Counts, Outcome, Receipt, RunId, SourceReceipt,
    changes::{ColumnShift, Restatement},
    quarantine::{Reason, Rejected},
    receipt::Held,
};

fn message(outcome: Outcome) -> Message {
    let at = Timestamp::from_second(1_590_591_842).unwrap();
    Message {
        receipt: Receipt {
            run: Some(RunId(42)),
            pipeline: "covid19".to_owned(),
            outcome,
            table: "us_daily".to_owned(),
            counts: Counts { new: 1, updated: 39, unchanged: 1092, ..Counts::default() },
            rows_before: 1131,
            rows_after: 1132,
            sources: [("nyt".to_owned(), SourceReceipt { read: 1133, accepted: 1132, rejected: 1, changed: true, sha256: String::new() })]
                .into(),
            held: None,
            error: None,
            started_at: at,
            finished_at: at,
        },
        environment: "prod".to_owned(),
        recovery: false,
        silence: None,
        releases: None,
        warnings: vec!["check `cases never fall` found 2 violations".to_owned()],
        restatement: Restatement {
            rows: 39,
            oldest: Some("2020-03-02".to_owned()),
            newest: Some("2020-05-30".to_owned()),
            days_back: Some(91),
            columns: vec![ColumnShift { column: "cases".to_owned(), rows: 39, net: Some(-120.0), largest: Some(30.0) }],
        },
        changes: Vec::new(),
        quarantined: vec![Rejected {
            source: "nyt".to_owned(),
            part: None,
            line: Some(7),
            raw: "2020-01-26,<b>,0".to_owned(),
            column: Some("cases".to_owned()),
            reason: Reason::Type,
            message: "`<b>` is not a whole number".to_owned(),
            identity: "2020-01-26".to_owned(),
            key: None,
        }],
        quarantined_new: 1,
        quarantine_resolved: 0,
        quarantine_open: 1,
    }
}

#[test]
fn a_published_run_reads_well() {
    let rendered = Templates::new().render(&message(Outcome::Published), None).unwrap();
    insta::assert_snapshot!(format!("{}\n\n{}", rendered.subject, rendered.text));
}

#[test]
fn a_held_run_says_how_to_decide() {
    let mut message = message(Outcome::Held);
    message.receipt.held = Some(Held { reasons: vec!["would remove 129 of 129 rows, 100.0 % (max_removed: 10%)".to_owned()] });
    message.restatement = Restatement::default();
    message.quarantined_new = 0;
    message.quarantined.clear();
    message.quarantine_open = 0;
    message.warnings.clear();
    let rendered = Templates::new().render(&message, None).unwrap();
    insta::assert_snapshot!(format!("{}\n\n{}", rendered.subject, rendered.text));
}

#[test]
fn a_failed_run_says_why_and_what_to_do() {
    let mut message = message(Outcome::Failed);
    message.receipt.error =
        Some(Failure::new(Code::TG204, "source `nyt` no longer has the column `deaths`").detail("got", "date, cases").hint("set `from:`"));
    message.receipt.sources.clear();
    message.restatement = Restatement::default();
    message.warnings.clear();
    message.quarantined.clear();
    (message.quarantined_new, message.quarantine_open) = (0, 0);
    let rendered = Templates::new().render(&message, None).unwrap();
    insta::assert_snapshot!(format!("{}\n\n{}", rendered.subject, rendered.text));
}

#[test]
fn own_templates_are_used_and_html_is_escaped() {
    let template = Template {
        subject: Some("run {{ receipt.run }}\nBcc: x".to_owned()),
        text: None,
        html: Some("{{ quarantined[0].message }}".to_owned()),
    };
    let rendered = Templates::new().render(&message(Outcome::Published), Some(&template)).unwrap();
    assert_eq!(rendered.subject, "run 42 Bcc: x");
    assert_eq!(rendered.html, "`&lt;b&gt;` is not a whole number");
}

#[test]
fn a_misspelt_field_is_an_error_with_its_line() {
    let template = Template { text: Some("ok\n{{ reciept.run }}".to_owned()), ..Template::default() };
    let failure = Templates::new().render(&message(Outcome::Published), Some(&template)).unwrap_err();
    assert_eq!(failure.code, Code::TG602);
    assert!(failure.message.contains("line 2"), "{failure}");
}
