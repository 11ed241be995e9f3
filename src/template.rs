//! Go templates, as much of them as `--format` needs: `{{.Name}}`, `{{json .}}`, `table {{.ID}}\t{{.Name}}`.
//!
//! ```text
//!   text ──parse──▶ Vec<Node> ──run, with a Value──▶ text
//! ```
//!
//! What is here is text/template's: fields, variables, pipelines, `if`, `range`, `with`, trim markers, comments, and the functions
//! of docker/cli `templates` beside Go's own. Left out are named templates (`define`), methods and complex numbers. An object prints
//! as Go prints a map, `map[a:1 b:2]`. <https://pkg.go.dev/text/template>

mod functions;
mod parse;
mod table;
mod types;
mod value;

use parse::{Command, Node, Operand, Pipeline};
use value::Kind;

pub(crate) use table::{List, list};
pub(crate) use types::{CONTAINER, IMAGE, NETWORK};
pub(crate) use value::Value;

use crate::report::Problem;

/// A template, understood.
#[derive(Debug)]
pub(crate) struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Understand a template.
    ///
    /// Errors: what does not make sense, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        parse::parse(text).map(|nodes| Self { nodes }).map_err(|why| Problem::new(format!("--format {text}: {why}")))
    }

    /// Fill it in.
    ///
    /// Errors: a field that the value has not, or a function that cannot take what it is given.
    pub(crate) fn fill(&self, data: &Value) -> Result<String, Problem> {
        // As docker does: with what Go knows, and when that goes wrong with the JSON alone.
        self.run(data, Of::Typed).or_else(|_| self.run(&types::as_json_has_it(data.clone()), Of::Object))
    }

    /// Fill it in with a row of a list.
    ///
    /// Errors: those of [`Template::fill`].
    pub(crate) fn fill_row(&self, row: &Value) -> Result<String, Problem> {
        self.run(row, Of::Row)
    }

    /// Fill it in with the titles of columns: functions that would change them let them be.
    fn titles(&self, titles: &Value) -> Result<String, Problem> {
        self.run(titles, Of::Titles)
    }

    fn run(&self, data: &Value, of: Of) -> Result<String, Problem> {
        let mut run = Run { out: String::new(), variables: vec![("$".into(), data.clone())], of };
        run.nodes(&self.nodes, data).map_err(|why| Problem::new(format!("--format: {why}")))?;
        Ok(run.out)
    }
}

type Answer<T> = Result<T, String>;

/// A template while it is filled in.
struct Run {
    out: String,
    variables: Vec<(String, Value)>,
    of: Of,
}

/// What a template is filled in with: in this the functions differ a little.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// An object by Go's names alone.
    Typed,
    Object,
    Row,
    Titles,
}

impl Run {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Answer<()> {
        for node in nodes {
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Show(pipeline) => {
                    let value = self.pipeline(pipeline, dot)?;
                    // text/template's word for a nil that is printed by itself; in lists and maps it is <nil>.
                    match value {
                        _ if !pipeline.declares.is_empty() => {}
                        Value::Nil => self.out.push_str("<no value>"),
                        value => self.out.push_str(&value.to_string()),
                    }
                }
                Node::If { condition, then, otherwise } => {
                    let known = self.variables.len();
                    let branch = if self.pipeline(condition, dot)?.is_true() { then } else { otherwise };
                    self.nodes(branch, dot)?;
                    self.variables.truncate(known);
                }
                Node::With { subject, body, otherwise } => {
                    let known = self.variables.len();
                    let value = self.pipeline(subject, dot)?;
                    if value.is_true() {
                        self.nodes(body, &value)?
                    } else {
                        self.nodes(otherwise, dot)?
                    }
                    self.variables.truncate(known);
                }
                Node::Range { over, body, otherwise } => self.range(over, (body, otherwise), dot)?,
            }
        }
        Ok(())
    }

    fn range(&mut self, over: &Pipeline, (body, otherwise): (&[Node], &[Node]), dot: &Value) -> Answer<()> {
        let known = self.variables.len();
        let entries: Vec<(Value, Value)> = match self.evaluate(over, dot)? {
            Value::List(items) => {
                items.into_iter().enumerate().map(|(at, item)| (Value::from_index(at), item)).collect()
            }
            Value::Map(fields) | Value::AnyKey(fields) => {
                // Go visits a map in the order of its keys.
                let mut fields = fields;
                fields.retain(|(_, value)| !value.is_hidden());
                fields.sort_by(|a, b| a.0.cmp(&b.0));
                fields.into_iter().map(|(key, value)| (Value::Text(key), value)).collect()
            }
            Value::Nil | Value::NilOf(Kind::List | Kind::Map) => Vec::new(),
            other => return Err(format!("range cannot go over {other}")),
        };
        if entries.is_empty() {
            self.nodes(otherwise, dot)?;
        }
        for (key, item) in entries {
            self.variables.truncate(known);
            match over.declares.as_slice() {
                [] => {}
                [one] => self.variables.push((one.clone(), item.clone())),
                [first, second, ..] => {
                    self.variables.push((first.clone(), key));
                    self.variables.push((second.clone(), item.clone()));
                }
            }
            self.nodes(body, &item)?;
        }
        self.variables.truncate(known);
        Ok(())
    }

    /// The value of a pipeline; a variable that it declares is known from here on.
    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Answer<Value> {
        let value = self.evaluate(pipeline, dot)?;
        if let Some(name) = pipeline.declares.first() {
            self.variables.push((name.clone(), value.clone()));
        }
        Ok(value)
    }

    fn evaluate(&self, pipeline: &Pipeline, dot: &Value) -> Answer<Value> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(self.command(command, dot, last)?);
        }
        last.ok_or_else(|| "an action is empty".into())
    }

    /// One command; what came before it in the pipeline is its last argument.
    fn command(&self, command: &Command, dot: &Value, before: Option<Value>) -> Answer<Value> {
        if let Operand::Function(name) = &command.head {
            let mut arguments = Vec::new();
            for argument in &command.arguments {
                arguments.push(self.operand(argument, dot)?);
            }
            arguments.extend(before);
            let is_json_of_row =
                self.of == Of::Row && name == "json" && matches!(arguments.last(), Some(Value::Map(_)));
            return if self.of == Of::Titles && functions::CHANGES_TITLES.contains(&name.as_str()) {
                Ok(arguments.pop().unwrap_or(Value::Nil))
            } else if is_json_of_row {
                functions::call(name, &arguments).map(|json| Value::Text(for_html(&json.to_string())))
            } else {
                functions::call(name, &arguments)
            };
        }
        if let ([key], None, Value::ByKey(values)) = (&*command.arguments, &before, self.operand(&command.head, dot)?) {
            let key = self.operand(key, dot)?.to_string();
            return Ok(Value::Text(values.get(&key).cloned().unwrap_or_default()));
        }
        if !command.arguments.is_empty() || before.is_some() {
            return Err("only a function takes arguments".into());
        }
        self.operand(&command.head, dot)
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Answer<Value> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Field(path) => self.field(dot, path),
            Operand::Variable(name, path) => {
                let found = self.variables.iter().rev().find(|(known, _)| known == name);
                self.field(&found.ok_or_else(|| format!("there is no variable {name}"))?.1, path)
            }
            Operand::Nested(pipeline, path) => self.field(&self.evaluate(pipeline, dot)?, path),
            Operand::Function(name) => functions::call(name, &[]),
        }
    }

    fn field(&self, value: &Value, path: &[String]) -> Answer<Value> {
        let mut at = value;
        for name in path {
            let found = match at {
                Value::Map(_) if self.of == Of::Typed && types::OF_JSON.contains(&name.as_str()) => None,
                Value::Map(fields) | Value::AnyKey(fields) => fields.iter().find(|(key, _)| key == name),
                _ => None,
            };
            at = match (found, at) {
                (Some((_, Value::Unwritten(value))), _) => value,
                (Some((_, value)), _) => value,
                // Nothing has no fields, and in Go's templates every one of them is nothing.
                (None, Value::AnyKey(_) | Value::NilOf(Kind::Map)) => return Ok(Value::Nil),
                (None, _) => return Err(format!("there is no field {name}")),
            };
        }
        Ok(at.clone())
    }
}

/// JSON as Go writes it when it is to stand in HTML, too: so docker/cli writes a whole row.
fn for_html(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

#[cfg(test)]
mod tests;
