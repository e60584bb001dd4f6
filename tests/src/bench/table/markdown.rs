//! Tables in Markdown.

use std::{fmt::Write as _, iter};

/// A table whose columns line up in a terminal, too. Columns of numbers are flush right.
pub fn markdown<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<[String; N]> = iter::once(header.map(str::to_owned)).chain(rows).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3)
    });
    let numeric: [bool; N] = std::array::from_fn(|column| {
        rows.len() > 1 && rows[1..].iter().all(|row| is_number(&row[column]))
    });
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        for column in 0..N {
            let (cell, width) = (&row[column], widths[column]);
            let _ = if numeric[column] {
                write!(text, "| {cell:>width$} ")
            } else {
                write!(text, "| {cell:<width$} ")
            };
        }
        text.push_str("|\n");
        if number == 0 {
            text.push_str(&rule(&widths, &numeric));
        }
    }
    text
}

fn is_number(cell: &str) -> bool {
    cell.is_empty() || cell.parse::<f64>().is_ok()
}

/// The line below a header.
fn rule(widths: &[usize], numeric: &[bool]) -> String {
    let cells = widths.iter().zip(numeric).map(|(width, numeric)| {
        let (dashes, end) = ("-".repeat(width - 1), if *numeric { ":" } else { "-" });
        format!("| {dashes}{end} ")
    });
    cells.collect::<String>() + "|\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_are_flush_right() {
        let rows = [["a", "1.50"], ["long", ""], ["b", "10.25"]];
        let text = markdown(["name", "p50"], rows.map(|row| row.map(str::to_owned)));
        let expected = "| name |   p50 |\n| ---- | ----: |\n| a    |  1.50 |\n\
                        | long |       |\n| b    | 10.25 |\n";
        assert_eq!(text, expected, "\n{text}");
    }
}
