//! The application's own user interface, which here is the terminal.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, bail};
use serde_json::{Value, json};

/// Poses questions to the person.
#[derive(Debug)]
pub(crate) struct Dialog {
    answers: BTreeMap<String, String>,
}

impl Dialog {
    pub(crate) fn new(answers: Vec<(String, String)>) -> Self {
        Self {
            answers: answers.into_iter().collect(),
        }
    }

    /// Shows a question and returns the parts of the answer.
    pub(crate) fn pose(&self, interaction: &Value) -> Result<Vec<Value>> {
        println!("  question: {}", words(interaction, &["title", "code"]));
        let mut answered = Vec::new();
        for part in interaction["parts"].as_array().into_iter().flatten() {
            let Some(id) = part["id"].as_str() else {
                continue;
            };
            match part["kind"].as_str() {
                Some("text_input" | "choices" | "date" | "number") => {
                    let value = self.ask(id, part)?;
                    answered.push(json!({ "id": id, "value": value }));
                }
                Some("link" | "redirect") => {
                    println!(
                        "  {}: {}",
                        words(part, &["text", "label"]),
                        words(part, &["url"])
                    );
                }
                Some(_) | None => println!("  {}", words(part, &["text", "label"])),
            }
        }
        Ok(answered)
    }

    fn ask(&self, id: &str, part: &Value) -> Result<String> {
        println!("  {} ({id})", words(part, &["label"]));
        for choice in part["choices"].as_array().into_iter().flatten() {
            println!(
                "    {}: {}",
                words(choice, &["id"]),
                words(choice, &["label"])
            );
        }
        if let Some(answer) = self.answers.get(id).or_else(|| self.answers.get("*")) {
            println!("  > (given in advance)");
            return Ok(answer.clone());
        }
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            bail!("nobody is there to answer; give --answer {id}=VALUE");
        }
        print!("  > ");
        std::io::stdout().flush()?;
        let mut line = String::new();
        stdin.lock().read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

fn words<'v>(value: &'v Value, members: &[&str]) -> &'v str {
    let mut texts = members.iter().filter_map(|member| value[member].as_str());
    texts.next().unwrap_or_default()
}
