//! How an overlay such as `provender.prod.yaml` changes `provender.yaml`.

use super::environment::expand_text;
use crate::node::{Node, Value};

/// Lays `overlay` over `base`: mappings are merged key by key, anything else replaces. A mapping
/// whose `type` differs replaces the whole mapping, since the options of one type mean nothing to
/// another. An empty overlay changes nothing.
pub(super) fn merge(base: Node, overlay: Node, variables: &dyn Fn(&str) -> Option<String>) -> Node {
    if matches!(overlay.value, Value::Null) {
        return base;
    }
    merge_values(base, overlay, variables)
}

fn merge_values(base: Node, overlay: Node, variables: &dyn Fn(&str) -> Option<String>) -> Node {
    if types_differ(&base, &overlay, variables) {
        return overlay;
    }
    match (base.value, overlay.value) {
        (Value::Map(mut entries), Value::Map(changes)) => {
            for (key, change) in changes {
                match entries.iter().position(|(known, _)| known.text == key.text) {
                    Some(at) => {
                        let (_, old) = entries.remove(at);
                        let merged = merge_values(old, change, variables);
                        entries.insert(at, (key, merged));
                    }
                    None => entries.push((key, change)),
                }
            }
            Node {
                at: overlay.at,
                value: Value::Map(entries),
                expanded: false,
            }
        }
        (_, value) => Node {
            at: overlay.at,
            value,
            expanded: overlay.expanded,
        },
    }
}

fn types_differ(base: &Node, overlay: &Node, variables: &dyn Fn(&str) -> Option<String>) -> bool {
    let type_of = |node: &Node| {
        let text = node.get("type").and_then(Node::text)?;
        Some(match expand_text(text, variables) {
            Ok(Some(expanded)) => expanded,
            Ok(None) | Err(_) => text.to_owned(),
        })
    };
    match (type_of(base), type_of(overlay)) {
        (Some(base), Some(overlay)) => base != overlay,
        _ => false,
    }
}
