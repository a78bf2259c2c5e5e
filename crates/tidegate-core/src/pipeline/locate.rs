//! Where each key of a YAML file stands, so that an error found long after parsing can still point at it.

use granit_parser::{Event, Parser, ScalarStyle, Span};
use std::{collections::BTreeMap, ops::Range};

/// Positions of all keys and list items of one file. Lines and columns count from 1.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locations {
    by_path: BTreeMap<Vec<String>, (usize, usize)>,
}

/// A scalar that stands in the text, for substitution in place.
pub(super) struct Scalar {
    pub(super) bytes: Range<usize>,
    pub(super) style: ScalarStyle,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Locations {
    /// The position of `path`, or of the nearest thing above it that is in the file.
    pub fn nearest(&self, path: &[&str]) -> Option<(usize, usize)> {
        let mut path: Vec<String> = path.iter().map(|part| (*part).to_owned()).collect();
        while !path.is_empty() {
            if let Some(found) = self.by_path.get(&path) {
                return Some(*found);
            }
            path.pop();
        }
        None
    }
}

/// What is open while walking: a mapping waits for a key or a value, a sequence counts its items.
enum Open {
    Key,
    Value(String),
    Item(usize),
}

/// Walks the events of `text`. Stops silently at a syntax error: the parser proper reports it.
pub(super) fn walk(text: &str) -> (Locations, Vec<Scalar>) {
    let mut locations = Locations::default();
    let mut scalars = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        match event {
            Event::Scalar(value, style, ..) => {
                if let Some(bytes) = span.byte_range() {
                    scalars.push(Scalar { bytes, style, line: span.start.line(), column: span.start.col() + 1 });
                }
                match open.last_mut() {
                    Some(slot @ Open::Key) => {
                        let mut key = path.clone();
                        key.push(value.to_string());
                        locations.by_path.insert(key, position(&span));
                        *slot = Open::Value(value.into_owned());
                    }
                    Some(_) => leaf(&mut open, &path, &span, &mut locations),
                    None => {}
                }
            }
            Event::Alias(_) => leaf(&mut open, &path, &span, &mut locations),
            Event::MappingStart(..) => enter(Open::Key, &mut open, &mut path, &span, &mut locations),
            Event::SequenceStart(..) => enter(Open::Item(0), &mut open, &mut path, &span, &mut locations),
            Event::MappingEnd | Event::SequenceEnd => {
                open.pop();
                path.pop();
                next(&mut open);
            }
            _ => {}
        }
    }
    (locations, scalars)
}

fn position(span: &Span) -> (usize, usize) {
    (span.start.line(), span.start.col() + 1)
}

/// A value that is not a collection: note it if it is a list item, then the parent waits for the next.
fn leaf(open: &mut [Open], path: &[String], span: &Span, locations: &mut Locations) {
    if let Some(Open::Item(n)) = open.last() {
        let mut item = path.to_vec();
        item.push(n.to_string());
        locations.by_path.insert(item, position(span));
    }
    next(open);
}

fn enter(what: Open, open: &mut Vec<Open>, path: &mut Vec<String>, span: &Span, locations: &mut Locations) {
    match open.last() {
        Some(Open::Value(key)) => path.push(key.clone()),
        Some(Open::Item(n)) => {
            path.push(n.to_string());
            locations.by_path.insert(path.clone(), position(span));
        }
        // The root, or a mapping used as a key, which no pipeline file has a place for.
        Some(Open::Key) | None => path.push(String::new()),
    }
    if path.len() == 1 && path[0].is_empty() {
        path.clear();
    }
    open.push(what);
}

fn next(open: &mut [Open]) {
    match open.last_mut() {
        Some(Open::Item(n)) => *n += 1,
        Some(slot) => *slot = Open::Key,
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_items_are_found_or_their_parents() {
        let (at, _) = walk("a:\n  b: 1\n  c: [x, {d: 2}]\ne: 3\n");
        assert_eq!(at.nearest(&["a"]), Some((1, 1)));
        assert_eq!(at.nearest(&["a", "b"]), Some((2, 3)));
        assert_eq!(at.nearest(&["a", "c", "0"]), Some((3, 7)));
        assert_eq!(at.nearest(&["a", "c", "1", "d"]), Some((3, 11)));
        assert_eq!(at.nearest(&["a", "b", "no such"]), Some((2, 3)));
        assert_eq!(at.nearest(&["e"]), Some((4, 1)));
        assert_eq!(at.nearest(&["z"]), None);
    }
}
