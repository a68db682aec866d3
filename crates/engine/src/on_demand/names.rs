//! Finds the inputs that an expression names, and refuses what is no expression over inputs.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Ident, Query, Subscript, Value, VisitMut, VisitorMut,
};
use provender_core::ValueType;
use provender_core::names::nearest;

use super::{InputColumn, Refusal};

/// The name of an input's column while it is evaluated; no two inputs share one, for names of
/// definitions hold neither `.` nor `:`.
pub(super) fn label(input: &InputColumn) -> String {
    match &input.view {
        Some(view) => format!("{view}.{}", input.name),
        None => format!("request:{}", input.name),
    }
}

/// Replaces every name by its input's label; which inputs these are, ascending.
pub(super) fn resolve(expr: &mut Expr, inputs: &[InputColumn]) -> Result<Vec<usize>, Refusal> {
    let mut resolver = Resolver {
        inputs,
        used: BTreeSet::new(),
    };
    match expr.visit(&mut resolver) {
        ControlFlow::Continue(()) => Ok(resolver.used.into_iter().collect()),
        ControlFlow::Break(refusal) => Err(refusal),
    }
}

struct Resolver<'a> {
    inputs: &'a [InputColumn],
    used: BTreeSet<usize>,
}

impl VisitorMut for Resolver<'_> {
    type Break = Refusal;

    fn pre_visit_query(&mut self, _query: &mut Query) -> ControlFlow<Refusal> {
        ControlFlow::Break(Refusal::new(
            "holds a subquery",
            "an on-demand feature sees its inputs and the request, one row at a time, and no tables",
        ))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Refusal> {
        match self.replaced(expr) {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(replacement)) => {
                *expr = replacement;
                ControlFlow::Continue(())
            }
            Err(refusal) => ControlFlow::Break(refusal),
        }
    }
}

impl Resolver<'_> {
    fn replaced(&mut self, expr: &mut Expr) -> Result<Option<Expr>, Refusal> {
        match expr {
            Expr::Identifier(name) => {
                let index = self.bare(name)?;
                Ok(Some(self.column(index)))
            }
            Expr::CompoundIdentifier(names) => self.path(names, Vec::new()).map(Some),
            Expr::CompoundFieldAccess { root, access_chain } => {
                let Expr::Identifier(first) = root.as_ref() else {
                    dots_to_subscripts(access_chain);
                    return Ok(None);
                };
                // `view.feature[1]` is read as a chain that starts at `view`.
                let dots = access_chain.iter().map_while(|access| match access {
                    AccessExpr::Dot(Expr::Identifier(name)) => Some(name),
                    _ => None,
                });
                let names: Vec<Ident> = std::iter::once(first).chain(dots).cloned().collect();
                let mut rest = access_chain.split_off(names.len() - 1);
                dots_to_subscripts(&mut rest);
                self.path(&names, rest).map(Some)
            }
            Expr::Value(value) => match &value.value {
                Value::Placeholder(name) => Err(Refusal::new(
                    format!("holds the parameter {name}"),
                    "declare a field under `request` and use its name",
                )),
                _ => Ok(None),
            },
            Expr::Lambda(_) => Err(Refusal::new("holds a lambda", "")),
            _ => Ok(None),
        }
    }

    fn column(&mut self, index: usize) -> Expr {
        self.used.insert(index);
        let label = self.inputs.get(index).map(label).unwrap_or_default();
        Expr::Identifier(Ident::with_quote('"', label))
    }

    /// `name`, which must be one input's alone.
    fn bare(&self, name: &Ident) -> Result<usize, Refusal> {
        if let Some(index) = self.labelled(&name.value) {
            return Ok(index);
        }
        let found = self.matches(&name.value, |input| &input.name);
        match found.as_slice() {
            [only] => Ok(*only),
            [] => Err(self.unknown(&name.value)),
            several => Err(self.unclear(&name.value, several)),
        }
    }

    /// Names that were replaced already are met again inside what replaced them.
    fn labelled(&self, name: &str) -> Option<usize> {
        let is_label = name.contains(['.', ':']);
        let position = |input| label(input) == name;
        is_label.then(|| self.inputs.iter().position(position))?
    }

    /// `view.feature`, or a bare name, either followed by fields of structs and by subscripts.
    fn path(&mut self, names: &[Ident], rest: Vec<AccessExpr>) -> Result<Expr, Refusal> {
        let [first, others @ ..] = names else {
            return Err(Refusal::new("holds an empty name", ""));
        };
        let (index, fields) = match others {
            [] => (self.bare(first)?, others),
            [second, fields @ ..] => match self.of_view(&first.value, &second.value)? {
                Some(index) => (index, fields),
                None => (self.bare(first)?, others),
            },
        };
        let mut chain = self.fields(index, fields)?;
        chain.extend(rest);
        let root = self.column(index);
        if chain.is_empty() {
            return Ok(root);
        }
        Ok(Expr::CompoundFieldAccess {
            root: Box::new(root),
            access_chain: chain,
        })
    }

    /// The feature of a view; `None` if no input is of such a view.
    fn of_view(&self, view: &str, name: &str) -> Result<Option<usize>, Refusal> {
        let of_view = self.matches(view, |input| input.view.as_deref().unwrap_or_default());
        if of_view.is_empty() || view.is_empty() {
            return match self.matches(view, |input| &input.name).is_empty() {
                true => Err(self.unknown(&format!("{view}.{name}"))),
                false => Ok(None),
            };
        }
        let exact = |index: &&usize| {
            self.inputs
                .get(**index)
                .is_some_and(|input| input.name == name)
        };
        let lower = name.to_lowercase();
        let close = |index: &&usize| {
            let input = self.inputs.get(**index);
            input.is_some_and(|input| input.name.to_lowercase() == lower)
        };
        let mut found: Vec<usize> = of_view.iter().filter(exact).copied().collect();
        if found.is_empty() {
            found = of_view.iter().filter(close).copied().collect();
        }
        match found.as_slice() {
            [only] => Ok(Some(*only)),
            [] => Err(self.unknown(&format!("{view}.{name}"))),
            several => Err(self.unclear(&format!("{view}.{name}"), several)),
        }
    }

    /// The inputs whose `part` is `name`, else those whose `part` differs from it in case only.
    fn matches<'b>(&'b self, name: &str, part: impl Fn(&'b InputColumn) -> &'b str) -> Vec<usize> {
        let inputs = || self.inputs.iter().enumerate();
        let exact: Vec<usize> = inputs()
            .filter(|(_, input)| part(input) == name)
            .map(|(index, _)| index)
            .collect();
        if !exact.is_empty() {
            return exact;
        }
        let lower = name.to_lowercase();
        inputs()
            .filter(|(_, input)| part(input).to_lowercase() == lower)
            .map(|(index, _)| index)
            .collect()
    }

    fn fields(&self, index: usize, names: &[Ident]) -> Result<Vec<AccessExpr>, Refusal> {
        let mut chain = Vec::with_capacity(names.len());
        let mut value_type = self.inputs.get(index).map(|input| &input.value_type);
        for name in names {
            let mut field = name.value.clone();
            if let Some(ValueType::Struct(fields)) = value_type {
                let lower = field.to_lowercase();
                let exact = fields.iter().find(|(other, _)| *other == field);
                let mut close = fields
                    .iter()
                    .filter(|(other, _)| other.to_lowercase() == lower);
                let found = exact.or_else(|| close.next().filter(|_| close.next().is_none()));
                let Some((found, of_field)) = found else {
                    let known: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
                    let owner = self.inputs.get(index).map(shown).unwrap_or_default();
                    return Err(Refusal::new(
                        format!("names the unknown field {field:?} of {owner}"),
                        format!("the fields are {}", known.join(", ")),
                    ));
                };
                field.clone_from(found);
                value_type = Some(of_field);
            } else {
                value_type = None;
            }
            chain.push(AccessExpr::Subscript(subscript(field)));
        }
        Ok(chain)
    }

    fn unknown(&self, name: &str) -> Refusal {
        let full: Vec<String> = self.inputs.iter().map(shown).collect();
        let bare = self.inputs.iter().map(|input| input.name.as_str());
        let near = nearest(name, bare.chain(full.iter().map(String::as_str)));
        let mut help = String::new();
        if let Some(near) = near {
            let _ = write!(help, "did you mean {near:?}? ");
        }
        help.push_str(&self.listed());
        Refusal::new(format!("names the unknown input {name:?}"), help)
    }

    fn unclear(&self, name: &str, several: &[usize]) -> Refusal {
        let several: Vec<&InputColumn> = several
            .iter()
            .filter_map(|index| self.inputs.get(*index))
            .collect();
        let shown_all: Vec<String> = several.iter().map(|input| described(input)).collect();
        let help = match several.iter().find(|input| input.view.is_some()) {
            Some(input) => format!("write view.feature, for example {}", shown(input)),
            None => "write the name exactly as the request declares it".to_owned(),
        };
        Refusal::new(
            format!(
                "names {name:?}, which is not clear: it can be {}",
                shown_all.join(" or ")
            ),
            help,
        )
    }

    fn listed(&self) -> String {
        const SHOWN: usize = 20;
        if self.inputs.is_empty() {
            return "there are no inputs".to_owned();
        }
        let shown_all: Vec<String> = self.inputs.iter().take(SHOWN).map(shown).collect();
        let mut listed = format!("the inputs are {}", shown_all.join(", "));
        if self.inputs.len() > SHOWN {
            let _ = write!(listed, " and {} more", self.inputs.len() - SHOWN);
        }
        listed
    }
}

fn shown(input: &InputColumn) -> String {
    match &input.view {
        Some(view) => format!("{view}.{}", input.name),
        None => input.name.clone(),
    }
}

fn described(input: &InputColumn) -> String {
    match &input.view {
        Some(_) => shown(input),
        None => format!("the request's {}", input.name),
    }
}

fn subscript(field: String) -> Subscript {
    Subscript::Index {
        index: Expr::value(Value::SingleQuotedString(field)),
    }
}

/// A field after a subscript, as in `list[1].field`, is no input's name.
fn dots_to_subscripts(chain: &mut [AccessExpr]) {
    for access in chain {
        if let AccessExpr::Dot(Expr::Identifier(name)) = access {
            let field = name.value.clone();
            *access = AccessExpr::Subscript(subscript(field));
        }
    }
}
