//! `LabelSelector` of `meta/v1`.

use super::{
    Problem, ReadError,
    cursor::{Cursor, Object},
    names::{A_LABEL_KEY, A_LABEL_VALUE, is_label_key, is_label_value},
};
use crate::selector::{Requirement, Selector};

const FIELDS: [&str; 2] = ["matchLabels", "matchExpressions"];
const EXPRESSION: [&str; 3] = ["key", "operator", "values"];
const AN_OPERATOR: &str = "an operator: In, NotIn, Exists or DoesNotExist";

/// How an expression compares.
#[derive(Debug, Clone, Copy)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// A selector. The empty one matches all.
pub(super) fn read(selector: Cursor<'_>) -> Result<Selector, ReadError> {
    let selector = selector.object(&FIELDS)?;
    let labels = selector.optional("matchLabels", |labels| labels.map()?.pairs(label))?;
    let expressions = selector.optional("matchExpressions", |list| list.items(expression))?;
    let requirements = labels.into_iter().chain(expressions).flatten();
    Ok(Selector::new(requirements.collect()))
}

fn label(key: Cursor<'_>, value: Cursor<'_>) -> Result<Requirement, ReadError> {
    Ok(Requirement::In(label_key(key)?, vec![label_value(value)?]))
}

fn expression(expression: Cursor<'_>) -> Result<Requirement, ReadError> {
    let expression = expression.object(&EXPRESSION)?;
    let key = expression.required("key", label_key)?;
    let operator = expression.required("operator", operator)?;
    let values = expression.optional("values", |values| values.items(label_value))?;
    let values = values.unwrap_or_default();
    check_values(&expression, operator, values.len())?;
    Ok(match operator {
        Operator::In => Requirement::In(key, values),
        Operator::NotIn => Requirement::NotIn(key, values),
        Operator::Exists => Requirement::Exists(key),
        Operator::DoesNotExist => Requirement::DoesNotExist(key),
    })
}

fn operator(operator: Cursor<'_>) -> Result<Operator, ReadError> {
    operator.parse(AN_OPERATOR, |text| {
        [Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist]
            .into_iter()
            .find(|operator| operator.name() == text)
    })
}

impl Operator {
    const fn name(self) -> &'static str {
        match self {
            Self::In => "In",
            Self::NotIn => "NotIn",
            Self::Exists => "Exists",
            Self::DoesNotExist => "DoesNotExist",
        }
    }
}

fn check_values(
    expression: &Object<'_>,
    operator: Operator,
    values: usize,
) -> Result<(), ReadError> {
    let needs_values = matches!(operator, Operator::In | Operator::NotIn);
    let problem = match (needs_values, values) {
        (true, 0) => Problem::NoValues(operator.name()),
        (false, 1..) => Problem::NeedlessValues(operator.name()),
        _ => return Ok(()),
    };
    Err(expression.error(problem))
}

pub(super) fn label_key(key: Cursor<'_>) -> Result<String, ReadError> {
    key.parse(A_LABEL_KEY, |text| is_label_key(text).then(|| text.to_owned()))
}

pub(super) fn label_value(value: Cursor<'_>) -> Result<String, ReadError> {
    value.parse(A_LABEL_VALUE, |text| is_label_value(text).then(|| text.to_owned()))
}
