//! Errors of the YAML parser.

use serde_saphyr::{
    Error, ExternalMessageSource, MessageFormatter as _, UserMessageFormatter,
    budget::BudgetBreach, granit_parser::ErrorKind,
};

use super::{Position, Problem, ReadError, problem::shown};

/// Most characters of a message.
const LONGEST: usize = 300;

/// The reader's error for the parser's.
pub(super) fn read_error(error: &Error) -> ReadError {
    let problem = problem(error);
    match error.location() {
        Some(at) => {
            let position = Position { line: at.line(), column: at.column() };
            ReadError::at(position, String::new(), problem)
        }
        None => ReadError::of_text(problem),
    }
}

fn problem(error: &Error) -> Problem {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => problem(error),
        Error::Budget { breach, .. } => exceeded(breach),
        Error::AliasReplayLimitExceeded { .. } | Error::AliasReplayStackDepthExceeded { .. } => {
            Problem::TooManyAliases
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => Problem::DuplicateField(shown(key)),
        Error::ExternalMessage { source, .. } if is_too_deep(source) => Problem::TooDeep,
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            Problem::Syntax("the alias is inside of what it stands for".to_owned())
        }
        _ => Problem::Syntax(cut(message(error))),
    }
}

/// A message that may repeat a value of any length.
fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push_str("...");
    }
    text
}

/// Whether the scanner, which runs ahead, stopped at a depth of flow collections.
fn is_too_deep(source: &ExternalMessageSource) -> bool {
    matches!(source, ExternalMessageSource::Parser(error)
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded))
}

fn exceeded(breach: &BudgetBreach) -> Problem {
    match breach {
        BudgetBreach::Depth { .. } => Problem::TooDeep,
        BudgetBreach::Events { .. } | BudgetBreach::Nodes { .. } => Problem::TooManyValues,
        BudgetBreach::Documents { .. } => Problem::TooManyObjects,
        // The text itself has no more bytes than `MAX_TEXT`, so that only aliases exceed the rest.
        _ => Problem::TooManyAliases,
    }
}

/// The parser's own message, as one line.
fn message(error: &Error) -> String {
    let message = UserMessageFormatter.format_message(error);
    message.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}
