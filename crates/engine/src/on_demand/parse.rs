//! Reads the SQL of an expression, within limits that keep every later step within its stack.
//!
//! The parser bounds the nesting of parentheses itself, but a chain such as `a + a + a` becomes a tree
//! as deep as the chain is long without any recursion, and is then taken apart recursively. So
//! long texts are read on a thread whose stack is large enough for the longest text, and trees
//! that are too deep do not leave it.

use std::ops::ControlFlow;

use datafusion::sql::parser::DFParserBuilder;
use datafusion::sql::sqlparser::ast::{ArrayElemTypeDef, DataType, Expr, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::Refusal;

/// The longest SQL text in bytes.
const MAX_BYTES: usize = 64 * 1024;
/// The deepest tree.
const MAX_DEPTH: usize = 200;
/// Brackets of every kind that may be open at once, and how many subscripts or array types in all.
const MAX_BRACKETS: usize = 100;
const MAX_SUBSCRIPTS: usize = 200;
/// Texts up to this length cannot become trees that any thread's stack is too small for.
const SHORT: usize = 1_024;
const STACK_BYTES: usize = 64 * 1024 * 1024;

const ONE_EXPRESSION: &str = "write one scalar SQL expression, without SELECT, alias or semicolon; names that are keywords need double quotes";

/// The tree of one expression.
pub(super) fn parse(sql: &str) -> Result<Expr, Refusal> {
    if sql.len() > MAX_BYTES {
        return Err(Refusal::new(
            format!("is {} bytes of SQL, more than {MAX_BYTES}", sql.len()),
            "split it into several on-demand features",
        ));
    }
    if sql.len() <= SHORT {
        return parse_here(sql);
    }
    let parsed = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let thread = thread.spawn_scoped(scope, || parse_here(sql)).ok()?;
        thread.join().ok()
    });
    parsed.unwrap_or_else(|| Err(Refusal::new("cannot be read: its parser did not run", "")))
}

fn too_deep() -> Refusal {
    Refusal::new(
        format!("is nested more than {MAX_DEPTH} deep (a chain of operators counts too)"),
        "split it into several on-demand features",
    )
}

fn parse_here(sql: &str) -> Result<Expr, Refusal> {
    let dialect = GenericDialect {};
    // What the tokenizer refuses the parser refuses too, with a position.
    if let Ok(tokens) = Tokenizer::new(&dialect, sql).tokenize() {
        check_tokens(&tokens)?;
    }
    let parsed = DFParserBuilder::new(sql)
        .with_dialect(&dialect)
        .with_recursion_limit(MAX_DEPTH)
        .build()
        .and_then(|mut parser| parser.parse_into_expr())
        .map_err(|error| Refusal::caused("cannot be read", ONE_EXPRESSION, error))?;
    if let Some(alias) = parsed.alias {
        return Err(Refusal::new(
            format!("cannot be read: it holds the alias {alias}"),
            ONE_EXPRESSION,
        ));
    }
    match parsed.expr.visit(&mut Depth(0)) {
        ControlFlow::Continue(()) => Ok(parsed.expr),
        ControlFlow::Break(()) => Err(too_deep()),
    }
}

/// Bounds what the parser's own limit leaves out (nested types and chains of `[..][..]`), and refuses
/// `*` where it is no multiplication, on which the parser would say little.
fn check_tokens(tokens: &[Token]) -> Result<(), Refusal> {
    let (mut open, mut subscripts, mut type_arguments) = (0_usize, 0_usize, 0_usize);
    let mut before: Option<&Token> = None;
    let space = |token: &&Token| !matches!(token, Token::Whitespace(_));
    for token in tokens.iter().filter(space) {
        match (before, token) {
            (_, Token::LParen | Token::LBrace) => open += 1,
            (_, Token::RParen | Token::RBrace | Token::RBracket) => open = open.saturating_sub(1),
            (previous, Token::LBracket) => {
                open += 1;
                subscripts += usize::from(matches!(previous, Some(Token::RBracket)));
            }
            (None | Some(Token::LParen | Token::Comma | Token::Period), Token::Mul) => {
                return Err(Refusal::new("holds *", "name the inputs one by one"));
            }
            (Some(Token::Word(word)), Token::Lt) => {
                let generic = ["array", "struct", "map"];
                let generic = generic
                    .iter()
                    .any(|name| word.value.eq_ignore_ascii_case(name));
                type_arguments += usize::from(generic && word.quote_style.is_none());
            }
            _ => {}
        }
        if open > MAX_BRACKETS || subscripts > MAX_SUBSCRIPTS || type_arguments > MAX_BRACKETS {
            return Err(too_deep());
        }
        before = Some(token);
    }
    Ok(())
}

struct Depth(usize);

impl Visitor for Depth {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        self.0 += 1;
        let beside = match expr {
            Expr::CompoundFieldAccess { access_chain, .. } => access_chain.len(),
            Expr::CompoundIdentifier(names) => names.len(),
            Expr::Cast { data_type, .. } => type_depth(data_type),
            _ => 0,
        };
        if self.0 + beside > MAX_DEPTH {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, _expr: &Expr) -> ControlFlow<()> {
        self.0 -= 1;
        ControlFlow::Continue(())
    }
}

fn type_depth(mut data_type: &DataType) -> usize {
    let mut depth = 0;
    while let DataType::Array(
        ArrayElemTypeDef::AngleBracket(item)
        | ArrayElemTypeDef::SquareBracket(item, _)
        | ArrayElemTypeDef::Parenthesis(item),
    ) = data_type
    {
        data_type = item;
        depth += 1;
    }
    depth
}
