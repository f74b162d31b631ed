//! YAML as JSON, as far as a compose file needs it.

#![expect(clippy::wildcard_enum_match_arm, reason = "the enum is the parser's")]

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Reads one document; panics where it is not YAML or uses what a compose file need not.
pub(crate) fn load(text: &str) -> Value {
    let events: Vec<Event<'_>> = Parser::new_from_str(text).map(|event| event.unwrap().0).collect();
    let mut events = events.into_iter().filter(|event| {
        !matches!(
            event,
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing
        )
    });
    let first = events.next().expect("a document");
    let value = node(first, &mut events);
    assert!(events.next().is_none(), "one document");
    value
}

fn node<'i>(event: Event<'i>, events: &mut impl Iterator<Item = Event<'i>>) -> Value {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) if text == "true" => Value::Bool(true),
        Event::Scalar(text, ..) => Value::String(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut entries = Vec::new();
            loop {
                match events.next().expect("the end of the list") {
                    Event::SequenceEnd => return Value::Array(entries),
                    entry => entries.push(node(entry, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut entries = Map::new();
            loop {
                match events.next().expect("the end of the map") {
                    Event::MappingEnd => return Value::Object(entries),
                    Event::Scalar(key, ..) => {
                        let next = events.next().expect("a value");
                        let value = node(next, events);
                        assert!(entries.insert(key.clone().into_owned(), value).is_none(), "{key} stands there twice");
                    }
                    other => panic!("{other:?} as a key"),
                }
            }
        }
        other => panic!("{other:?}"),
    }
}
