//! YAML 1.2 to tree: no tags, no merge keys, no second document, aliases paid for in full.

use super::{Budget, Fault};
use crate::tree::{Entry, KeyPath, Node, Source, Step, Value};
use serde_saphyr::granit_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

/// A map or list that is still open.
enum Open {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// The names of the entries.
        seen: HashSet<String>,
        /// A name that waits for its value.
        name: Option<(String, Source)>,
    },
}

struct Frame {
    open: Open,
    source: Source,
    anchor: usize,
    /// Nodes left in the budget when it was opened.
    nodes_before: usize,
    height: usize,
}

/// What an alias repeats.
struct Anchored {
    node: Node,
    nodes: usize,
    height: usize,
}

struct Builder {
    frames: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    /// Values in `anchors`.
    kept_nodes: usize,
    budget: Budget,
    root: Option<Node>,
    documents: usize,
    faults: Vec<Fault>,
}

/// The tree of a YAML text. An empty text is an empty map.
pub(super) fn parse(text: &str, budget: Budget) -> Result<Node, Vec<Fault>> {
    let mut builder = Builder {
        frames: Vec::new(),
        anchors: HashMap::new(),
        kept_nodes: 0,
        budget,
        root: None,
        documents: 0,
        faults: Vec::new(),
    };
    for event in Parser::new_from_str(text) {
        let taken = match event {
            Ok((event, span)) => builder.take(event, place(&span.start)),
            Err(error) => {
                let problem = format!("not YAML: {}", error.info());
                let at = place(error.marker());
                Err(Fault::new(KeyPath::default(), at, problem))
            }
        };
        if let Err(fault) = taken {
            builder.faults.push(fault);
            break;
        }
    }
    if builder.faults.is_empty() {
        Ok(builder.root.unwrap_or_else(Node::empty_map))
    } else {
        Err(builder.faults)
    }
}

fn place(marker: &Marker) -> Source {
    Source::File {
        line: marker.line(),
        column: marker.col() + 1,
    }
}

impl Builder {
    fn take(&mut self, event: Event<'_>, source: Source) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(self.fault(source, "a second document"));
                }
            }
            Event::Alias(id) => return self.repeat(id, source),
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &source);
                return self.scalar(text, style, anchor, source);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &source);
                return self.open(Open::List(Vec::new()), anchor, source);
            }
            Event::MappingStart(_, anchor, tag) => {
                self.refuse_tag(tag.as_deref(), &source);
                let open = Open::Map {
                    entries: Vec::new(),
                    seen: HashSet::new(),
                    name: None,
                };
                return self.open(open, anchor, source);
            }
            Event::SequenceEnd | Event::MappingEnd => return self.close(),
            // Marks of the stream and comments; `Event` may grow.
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | _ => {}
        }
        Ok(())
    }

    fn fault(&self, source: Source, problem: impl Into<String>) -> Fault {
        let mut path = KeyPath::default();
        for frame in &self.frames {
            match &frame.open {
                Open::List(items) => path.0.push(Step::Index(items.len())),
                Open::Map { name, .. } => {
                    let name = name.iter().map(|(name, _)| Step::Name(name.clone()));
                    path.0.extend(name);
                }
            }
        }
        Fault::new(path, source, problem)
    }

    fn refuse_tag(&mut self, tag: Option<&Tag>, source: &Source) {
        if tag.is_some() {
            let fault = self.fault(source.clone(), "tags (`!…`) are not taken");
            self.faults.push(fault);
        }
    }

    /// Whether the next node is the name of a map entry.
    fn wants_name(&self) -> bool {
        matches!(
            self.frames.last().map(|frame| &frame.open),
            Some(Open::Map { name: None, .. })
        )
    }

    fn spend(&mut self, nodes: usize, height: usize, source: &Source) -> Result<(), Fault> {
        let depth = self.frames.len() + height;
        let spent = self.budget.spend(nodes, depth);
        spent.map_err(|problem| self.fault(source.clone(), problem))
    }

    fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: ScalarStyle,
        anchor: usize,
        source: Source,
    ) -> Result<(), Fault> {
        if self.wants_name() {
            return self.name(text.into_owned(), style, source);
        }
        self.spend(1, 0, &source)?;
        let value = if style == ScalarStyle::Plain {
            plain(&text)
        } else {
            Value::Text(text.into_owned())
        };
        let node = Node::new(value, source);
        self.remember(anchor, &node, 1, 0)?;
        self.place_node(node, 0)
    }

    fn name(&mut self, name: String, style: ScalarStyle, source: Source) -> Result<(), Fault> {
        if name == "<<" && style == ScalarStyle::Plain {
            return Err(self.fault(source, "merge keys (`<<`) are not taken"));
        }
        if let Some(Frame {
            open: Open::Map { name: slot, .. },
            ..
        }) = self.frames.last_mut()
        {
            *slot = Some((name, source));
        }
        Ok(())
    }

    fn open(&mut self, open: Open, anchor: usize, source: Source) -> Result<(), Fault> {
        if self.wants_name() {
            return Err(self.fault(source, "a key must be text"));
        }
        let nodes_before = self.budget.nodes;
        self.spend(1, 1, &source)?;
        self.frames.push(Frame {
            open,
            source,
            anchor,
            nodes_before,
            height: 1,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        let value = match frame.open {
            Open::List(items) => Value::List(items),
            Open::Map { entries, .. } => Value::Map(entries),
        };
        let node = Node::new(value, frame.source);
        let nodes = frame.nodes_before.saturating_sub(self.budget.nodes);
        self.remember(frame.anchor, &node, nodes, frame.height)?;
        self.place_node(node, frame.height)
    }

    /// Keeps what may be repeated; all of it together is no more than the budget, though names stand
    /// inside each other.
    fn remember(
        &mut self,
        anchor: usize,
        node: &Node,
        nodes: usize,
        height: usize,
    ) -> Result<(), Fault> {
        if anchor != 0 {
            self.kept_nodes = self.kept_nodes.saturating_add(nodes);
            if self.kept_nodes > self.budget.nodes_max {
                let problem = format!("more than {} values with an anchor", self.budget.nodes_max);
                return Err(self.fault(node.source.clone(), problem));
            }
            let node = node.clone();
            let anchored = Anchored {
                node,
                nodes,
                height,
            };
            self.anchors.insert(anchor, anchored);
        }
        Ok(())
    }

    /// Puts in what an alias names, at its full price.
    fn repeat(&mut self, id: usize, source: Source) -> Result<(), Fault> {
        if self.wants_name() {
            return Err(self.fault(source, "a key must be text"));
        }
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(self.fault(source, "an alias inside what it names"));
        };
        let (nodes, height) = (anchored.nodes, anchored.height);
        let mut node = anchored.node.clone();
        self.spend(nodes, height, &source)?;
        node.source = source;
        self.place_node(node, height)
    }

    fn place_node(&mut self, node: Node, height: usize) -> Result<(), Fault> {
        let Some(frame) = self.frames.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.height = frame.height.max(height + 1);
        match &mut frame.open {
            Open::List(items) => items.push(node),
            Open::Map {
                entries,
                seen,
                name,
            } => {
                let Some((text, source)) = name.as_ref() else {
                    return Ok(());
                };
                if !seen.insert(text.clone()) {
                    let source = source.clone();
                    let fault = self.fault(source, "written twice");
                    self.faults.push(fault);
                    self.forget_name();
                    return Ok(());
                }
                if let Some((text, source)) = name.take() {
                    entries.push(Entry {
                        name: text,
                        source,
                        node,
                    });
                }
            }
        }
        Ok(())
    }

    fn forget_name(&mut self) {
        if let Some(Frame {
            open: Open::Map { name, .. },
            ..
        }) = self.frames.last_mut()
        {
            *name = None;
        }
    }
}

/// What a plain scalar is: YAML 1.2's core schema, but booleans are `true` and `false` only.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ if is_number(text) => Value::Number(text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let prefixed = |prefix, is_digit: fn(&u8) -> bool| {
        digits
            .strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.as_bytes().iter().all(is_digit))
    };
    prefixed("0x", u8::is_ascii_hexdigit)
        || prefixed("0o", |byte| matches!(byte, b'0'..=b'7'))
        || is_decimal(digits)
}

fn is_decimal(digits: &str) -> bool {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent_fits = exponent.is_none_or(|text| {
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        !text.is_empty() && all_digits(text)
    });
    all_digits(whole) && all_digits(fraction) && whole.len() + fraction.len() > 0 && exponent_fits
}
