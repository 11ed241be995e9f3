//! From a template's text to its tree: actions between `{{` and `}}`, words inside them, blocks that end at `{{end}}`.

use super::functions;
use super::value::Value;

/// A part of a template.
#[derive(Debug)]
pub(super) enum Node {
    /// Text as it is.
    Text(String),
    /// `{{pipeline}}`
    Show(Pipeline),
    /// `{{if}} … {{else}} … {{end}}`
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    /// `{{with}} … {{else}} … {{end}}`
    With { subject: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
    /// `{{range}} … {{else}} … {{end}}`
    Range { over: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
}

/// `$x := .A | f "b"`
#[derive(Debug)]
pub(super) struct Pipeline {
    /// The variables before `:=`, one, or two in a `range`.
    pub(super) declares: Vec<String>,
    pub(super) commands: Vec<Command>,
}

/// A function with its arguments, or an operand alone.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) head: Operand,
    pub(super) arguments: Vec<Operand>,
}

/// What stands for a value.
#[derive(Debug)]
pub(super) enum Operand {
    Literal(Value),
    /// `.A.B`; `.` is the empty path.
    Field(Vec<String>),
    /// `$x.A`
    Variable(String, Vec<String>),
    /// `(pipeline).A`
    Nested(Pipeline, Vec<String>),
    Function(String),
}

type Parsed<T> = Result<T, String>;

/// The tree of a template.
pub(super) fn parse(text: &str) -> Parsed<Vec<Node>> {
    let pieces = pieces(text)?;
    let mut at = pieces.into_iter();
    let (nodes, end) = block(&mut at)?;
    match end {
        End::OfText => Ok(nodes),
        End::Action => Err("{{end}} without a block".into()),
        End::Else(_) => Err("{{else}} without a block".into()),
    }
}

enum Piece {
    Text(String),
    Action(Vec<Token>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A name, `true`, `nil`, a function.
    Word(String),
    /// `.A`; a lone dot is empty. `glued`: it follows the token before it without a space.
    Field {
        name: String,
        glued: bool,
    },
    /// `$x`, `$`.
    Variable(String),
    Literal(Value),
    Open,
    Close,
    Pipe,
    Comma,
    Declare,
}

/// What ended a block.
enum End {
    OfText,
    Action,
    Else(Vec<Token>),
}

fn pieces(text: &str) -> Parsed<Vec<Piece>> {
    let mut pieces = Vec::new();
    let (mut rest, mut trim) = (text, false);
    while let Some((before, after)) = rest.split_once("{{") {
        let trim_before = after.strip_prefix('-').is_some_and(|after| after.starts_with(char::is_whitespace));
        let before = if trim { before.trim_start() } else { before };
        pieces.push(Piece::Text(if trim_before { before.trim_end() } else { before }.to_owned()));
        let action = if trim_before { &after[1..] } else { after };
        if let Some(comment) = action.trim_start().strip_prefix("/*") {
            // What is in it may be anything, also a quote or }}.
            let (_, behind) = comment.split_once("*/").ok_or("a comment is not closed: */ is missing")?;
            (rest, trim) = end_of_comment(behind).ok_or("behind a comment stands }} alone")?;
            continue;
        }
        let end = end_of_action(action).ok_or("an action is not closed: }} is missing")?;
        let (inside, behind) = (&action[..end], &action[end + 2..]);
        trim = inside.strip_suffix('-').is_some_and(|inside| inside.ends_with(char::is_whitespace));
        let inside = if trim { &inside[..inside.len() - 1] } else { inside };
        pieces.push(Piece::Action(tokens(inside)?));
        rest = behind;
    }
    pieces.push(Piece::Text(if trim { rest.trim_start() } else { rest }.to_owned()));
    Ok(pieces)
}

/// What stands behind `}}` or ` -}}`, and whether space there goes.
fn end_of_comment(text: &str) -> Option<(&str, bool)> {
    let end = text.trim_start();
    match end.strip_prefix("}}") {
        Some(behind) => Some((behind, false)),
        None if end.len() < text.len() => Some((end.strip_prefix("-}}")?, true)),
        None => None,
    }
}

/// Where `}}` is, not counting one inside quotes.
fn end_of_action(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (None, '}') if text[at..].starts_with("}}") => return Some(at),
            (None, '"' | '`' | '\'') => quote = Some(letter),
            (Some('"' | '\''), '\\') => drop(letters.next()),
            (Some(open), letter) if open == letter => quote = None,
            _ => {}
        }
    }
    None
}

fn tokens(text: &str) -> Parsed<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut glued = false;
    while let Some(letter) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let name = |text: &str| text[..text.find(|c| !is_name(c)).unwrap_or(text.len())].to_owned();
        let (token, length) = match letter {
            c if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                glued = false;
                continue;
            }
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '|' => (Token::Pipe, 1),
            ',' => (Token::Comma, 1),
            ':' if rest.starts_with(":=") => (Token::Declare, 2),
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let name = name(&rest[1..]);
                let length = 1 + name.len();
                (Token::Field { name, glued }, length)
            }
            '$' => {
                let name = format!("${}", name(&rest[1..]));
                let length = name.len();
                (Token::Variable(name), length)
            }
            '"' | '`' | '\'' => quoted(rest)?,
            c if c.is_ascii_digit() || c == '-' || c == '.' => number(rest)?,
            c if is_name(c) => {
                let name = name(rest);
                let length = name.len();
                (Token::Word(name), length)
            }
            other => return Err(format!("{other:?} does not belong here")),
        };
        tokens.push(token);
        rest = &rest[length..];
        glued = true;
    }
    Ok(tokens)
}

fn number(text: &str) -> Parsed<(Token, usize)> {
    let length = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(text.len());
    let written = &text[..length];
    let value = written.parse().map(Value::Int).or_else(|_| written.parse().map(Value::Float));
    value.map(|value| (Token::Literal(value), length)).map_err(|_| format!("{written} is not a number"))
}

fn quoted(text: &str) -> Parsed<(Token, usize)> {
    let open = text.chars().next().unwrap_or('"');
    let mut content = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            c if c == open => return Ok((Token::Literal(Value::Text(content)), at + 1)),
            '\\' if open != '`' => content.push(match letters.next() {
                Some((_, 'n')) => '\n',
                Some((_, 't')) => '\t',
                Some((_, 'r')) => '\r',
                Some((_, c @ ('\\' | '"' | '\''))) => c,
                _ => return Err("a \\ stands before a letter that it does not go with".into()),
            }),
            c => content.push(c),
        }
    }
    Err("a quote is not closed".into())
}

fn block(pieces: &mut std::vec::IntoIter<Piece>) -> Parsed<(Vec<Node>, End)> {
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.next() {
        let tokens = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        let word = match tokens.first() {
            Some(Token::Word(word)) => word.as_str(),
            _ => "",
        };
        match word {
            "end" if tokens.len() == 1 => return Ok((nodes, End::Action)),
            "else" => return Ok((nodes, End::Else(tokens[1..].to_vec()))),
            "if" | "with" | "range" => nodes.push(control(word, &tokens[1..], pieces)?),
            "define" | "template" | "block" | "break" | "continue" => return Err(format!("{word} is not supported")),
            _ => nodes.push(Node::Show(pipeline(&tokens, 1)?)),
        }
    }
    Ok((nodes, End::OfText))
}

fn control(word: &str, tokens: &[Token], pieces: &mut std::vec::IntoIter<Piece>) -> Parsed<Node> {
    let head = pipeline(tokens, if word == "range" { 2 } else { 1 })?;
    let (body, end) = block(pieces)?;
    let otherwise = match end {
        End::Action => Vec::new(),
        End::OfText => return Err(format!("{{{{{word}}}}} has no {{{{end}}}}")),
        End::Else(rest) => match rest.first() {
            None => match block(pieces)? {
                (otherwise, End::Action) => otherwise,
                _ => return Err(format!("{{{{{word}}}}} has no {{{{end}}}} after {{{{else}}}}")),
            },
            // `{{else if}}` is an `if` inside the else, with the same end.
            Some(Token::Word(next)) if next == word && word != "range" => vec![control(word, &rest[1..], pieces)?],
            Some(_) => return Err("what stands behind else does not belong there".into()),
        },
    };
    Ok(match word {
        "if" => Node::If { condition: head, then: body, otherwise },
        "with" => Node::With { subject: head, body, otherwise },
        _ => Node::Range { over: head, body, otherwise },
    })
}

fn pipeline(tokens: &[Token], most_variables: usize) -> Parsed<Pipeline> {
    let (declares, rest) = match tokens.iter().position(|token| *token == Token::Declare) {
        None => (Vec::new(), tokens),
        Some(at) => {
            let names: Vec<String> = tokens[..at]
                .iter()
                .filter_map(|token| if let Token::Variable(name) = token { Some(name.clone()) } else { None })
                .collect();
            if names.is_empty() || names.len() > most_variables || tokens[..at].len() != 2 * names.len() - 1 {
                return Err("before := stands a variable".into());
            }
            (names, &tokens[at + 1..])
        }
    };
    let mut at = 0;
    let mut commands = Vec::new();
    loop {
        commands.push(command(rest, &mut at)?);
        match rest.get(at) {
            None => return Ok(Pipeline { declares, commands }),
            Some(Token::Pipe) => at += 1,
            Some(other) => return Err(format!("{other:?} does not belong here")),
        }
    }
}

fn command(tokens: &[Token], at: &mut usize) -> Parsed<Command> {
    let mut operands = Vec::new();
    while !matches!(tokens.get(*at), None | Some(Token::Pipe)) {
        operands.push(operand(tokens, at)?);
    }
    let mut operands = operands.into_iter();
    let head = operands.next().ok_or("an action is empty")?;
    Ok(Command { head, arguments: operands.collect() })
}

fn operand(tokens: &[Token], at: &mut usize) -> Parsed<Operand> {
    let token = &tokens[*at];
    *at += 1;
    match token {
        Token::Literal(value) => Ok(Operand::Literal(value.clone())),
        Token::Field { name, .. } => {
            let first = (!name.is_empty()).then(|| name.clone());
            Ok(Operand::Field(first.into_iter().chain(path(tokens, at)).collect()))
        }
        Token::Variable(name) => Ok(Operand::Variable(name.clone(), path(tokens, at))),
        Token::Word(word) => match word.as_str() {
            "true" => Ok(Operand::Literal(Value::Bool(true))),
            "false" => Ok(Operand::Literal(Value::Bool(false))),
            "nil" => Ok(Operand::Literal(Value::Nil)),
            name if functions::is_function(name) => Ok(Operand::Function(name.to_owned())),
            name => Err(format!("there is no function {name}")),
        },
        Token::Open => {
            let from = *at;
            let mut depth = 1;
            while depth > 0 {
                match tokens.get(*at) {
                    Some(Token::Open) => depth += 1,
                    Some(Token::Close) => depth -= 1,
                    Some(_) => {}
                    None => return Err("a bracket is not closed".into()),
                }
                *at += 1;
            }
            let inside = pipeline(&tokens[from..*at - 1], 0)?;
            Ok(Operand::Nested(inside, path(tokens, at)))
        }
        Token::Close => Err("a bracket is closed that was not opened".into()),
        other => Err(format!("{other:?} does not belong here")),
    }
}

/// The fields that follow without a space.
fn path(tokens: &[Token], at: &mut usize) -> Vec<String> {
    let mut path = Vec::new();
    while let Some(Token::Field { name, glued: true }) = tokens.get(*at) {
        if name.is_empty() {
            break;
        }
        path.push(name.clone());
        *at += 1;
    }
    path
}
