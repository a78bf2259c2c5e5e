use super::*;

#[test]
fn secrets_in_an_address_are_not_shown() {
    let url = Url::parse("https://me:secret@example.org/a.csv?key=abc").unwrap();
    assert_eq!(shown(&url), "https://example.org/a.csv?…");
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    assert_eq!(retry_after(&HeaderValue::from_static("7")), Some(Duration::from_secs(7)));
    let past = HeaderValue::from_static("Wed, 21 Oct 2015 07:28:00 GMT");
    assert_eq!(retry_after(&past), None);
    assert_eq!(retry_after(&HeaderValue::from_static("soon")), None);
}
