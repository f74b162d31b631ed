//! From text to a tree with line numbers. Bounded in depth; aliases and tags are refused as by the original.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};

use super::Finding;

/// A value and the line it starts at, from 1.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) content: Content,
    pub(super) line: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    List(Vec<Node>),
    /// Keys with their lines, in the order of the file; a key may come twice.
    Map(Vec<(String, usize, Node)>),
    /// A scalar; `plain` if it was not quoted, so that `12` is told from `"12"`.
    Scalar {
        text: String,
        plain: bool,
    },
}

impl Node {
    /// Whether it is YAML's null.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value in a few words, for messages.
    pub(super) fn summary(&self) -> String {
        match &self.content {
            Content::List(entries) => format!("a list of {}", entries.len()),
            Content::Map(entries) => format!("a map of {}", entries.len()),
            Content::Scalar { text, .. } => text.clone(),
        }
    }
}

/// Reads the first document of `text`.
pub(super) fn load(text: &str) -> Result<Node, Finding> {
    if text.len() > MAX_LEN {
        return Err(Finding::new(
            "",
            None,
            format!("it has more than {MAX_LEN} bytes"),
            "remove what does not belong there",
        ));
    }
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| syntax(&error))?;
        let line = span.start.line();
        if is_tagged(&event) {
            return Err(Finding::new("", Some(line), "it uses a YAML tag", "write the value without `!name`"));
        }
        let done = match event {
            Event::Alias(_) => {
                return Err(Finding::new(
                    "",
                    Some(line),
                    "it uses a YAML alias",
                    "write the value out instead of `*name`",
                ));
            }
            Event::MappingStart(..) => {
                start(&mut open, Open { key: None, line, parts: Parts::Map(Vec::new()) })?;
                continue;
            }
            Event::SequenceStart(..) => {
                start(&mut open, Open { key: None, line, parts: Parts::List(Vec::new()) })?;
                continue;
            }
            Event::Scalar(text, style, _, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                Node { content: Content::Scalar { text: text.into_owned(), plain }, line }
            }
            Event::MappingEnd | Event::SequenceEnd => match open.pop() {
                Some(ended) => ended.finish(),
                None => continue,
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                continue;
            }
        };
        match open.last_mut() {
            Some(parent) => parent.add(done)?,
            None => return Ok(done),
        }
    }
    Err(Finding::new("", None, "it is empty", "start from the output of `tunmesh config example`"))
}

/// A list or map whose end has not been seen.
struct Open {
    /// The key that waits for its value.
    key: Option<(String, usize)>,
    line: usize,
    parts: Parts,
}

enum Parts {
    List(Vec<Node>),
    Map(Vec<(String, usize, Node)>),
}

impl Open {
    fn add(&mut self, node: Node) -> Result<(), Finding> {
        match (&mut self.parts, self.key.take()) {
            (Parts::List(entries), _) => entries.push(node),
            (Parts::Map(entries), Some((key, line))) => entries.push((key, line, node)),
            (Parts::Map(_), None) => {
                let Content::Scalar { text, .. } = node.content else {
                    return Err(Finding::new(
                        "",
                        Some(node.line),
                        "a list or map stands where a key must",
                        "put values that contain [ ] or { } into quotes",
                    ));
                };
                self.key = Some((text, node.line));
            }
        }
        Ok(())
    }

    fn finish(self) -> Node {
        let content = match self.parts {
            Parts::List(entries) => Content::List(entries),
            Parts::Map(entries) => Content::Map(entries),
        };
        Node { content, line: self.line }
    }
}

fn start(open: &mut Vec<Open>, new: Open) -> Result<(), Finding> {
    if open.len() >= MAX_DEPTH {
        return Err(too_deep(new.line));
    }
    open.push(new);
    Ok(())
}

/// The library reads ahead of its events and has a limit of its own for brackets, of 255 levels.
fn syntax(error: &ScanError) -> Finding {
    let line = error.marker().line();
    if error.info().contains("recursion limit") {
        return too_deep(line);
    }
    Finding::new(
        "",
        Some(line),
        format!("it is not YAML: {}", error.info()),
        "correct the syntax there; indentation is by spaces, values with `: ` or ` #` in them need quotes",
    )
}

fn too_deep(line: usize) -> Finding {
    Finding::new(
        "",
        Some(line),
        format!("it is nested more than {MAX_DEPTH} levels deep"),
        "no key of the format is that deep; check brackets and indentation",
    )
}

/// Whether it bears a tag other than `!!str`. Ignoring one would read another value than the original: a `!!binary` secret
/// is base64 there.
fn is_tagged(event: &Event<'_>) -> bool {
    match event {
        Event::Scalar(_, _, _, tag) => {
            tag.as_ref().is_some_and(|tag| !tag.is_yaml_core_schema() || tag.suffix != "str")
        }
        Event::MappingStart(_, tag) | Event::SequenceStart(_, tag) => tag.is_some(),
        Event::Alias(_)
        | Event::DocumentEnd
        | Event::DocumentStart(_)
        | Event::MappingEnd
        | Event::Nothing
        | Event::SequenceEnd
        | Event::StreamEnd
        | Event::StreamStart => false,
    }
}

/// Levels of lists and maps; the deepest key of the format is on the seventh.
const MAX_DEPTH: usize = 32;

/// Largest file, in bytes.
const MAX_LEN: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_levels_are_refused_and_not_followed() {
        for level in ["[", "{", "{a: ", "- ", "? "] {
            let finding = load(&level.repeat(100_000)).unwrap_err();
            assert!(finding.reason.contains("nested"), "{level:?}: {finding}");
        }
    }

    #[test]
    fn tags_are_refused_but_for_that_of_text() {
        for text in ["a: !!binary eA==", "a: !secret x", "a: !!map {}", "a: !x [b]"] {
            let finding = load(text).unwrap_err();
            assert!(finding.reason.contains("tag"), "{text}: {finding}");
        }
        let Content::Map(entries) = load("a: !!str 12").unwrap().content else { panic!("a map") };
        assert!(matches!(&entries[0].2.content, Content::Scalar { text, plain: false } if text == "12"));
    }

    #[test]
    fn a_file_of_over_a_mebibyte_is_refused_unread() {
        let finding = load(&"a".repeat(MAX_LEN + 1)).unwrap_err();
        assert!(finding.reason.contains("bytes"), "{finding}");
    }

    #[test]
    fn every_value_knows_its_line() {
        let Content::Map(entries) = load("a: 1\nb:\n  c: [x]\n").unwrap().content else { panic!("a map") };
        let lines: Vec<_> = entries.iter().map(|(key, line, node)| (key.as_str(), *line, node.line)).collect();
        assert_eq!(lines, [("a", 1, 1), ("b", 2, 3)]);
    }
}
