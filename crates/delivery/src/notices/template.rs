//! The words of messages: templates for each kind, channel and language.

mod facts;
mod files;
mod when;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context};
use serde::Serialize;
use wellspring_core::NotificationId;
use wellspring_core::notification::{Channel, NotificationKind};
use wellspring_engine::NoticeOrder;

use facts::Facts;
pub(crate) use facts::one_line;

/// The templates in force: those that are shipped, and before them those of the operator's folder.
#[derive(Debug)]
pub struct Templates {
    own: Environment<'static>,
    shipped: Environment<'static>,
    languages: BTreeSet<String>,
    language: String,
}

/// Says what is wrong with the operator's templates.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The name of a file is none that a template has.
    #[error("{path}: no message is made of a file of this name")]
    Name {
        /// Which one.
        path: PathBuf,
    },
    /// A template does not parse or does not render.
    #[error("in {path}: {source}")]
    Template {
        /// Which one.
        path: PathBuf,
        /// Where and why.
        source: minijinja::Error,
    },
    /// The language to fall back to has no templates.
    #[error("there are no templates in the language `{0}`")]
    Language(String),
}

/// What a message says, for channels without a form of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Words {
    /// The language of the words.
    pub language: String,
    /// What it is about, one line.
    pub subject: String,
    /// The whole text; paragraphs stand between empty lines.
    pub text: String,
    /// The text in a sentence or two.
    pub short: String,
    /// The label of the link.
    pub action: String,
    /// Where the person can do something about it.
    pub link: Option<String>,
    pub(crate) stop: String,
    #[serde(skip)]
    pub(crate) greeting: String,
    #[serde(skip)]
    pub(crate) why: String,
    #[serde(skip)]
    pub(crate) unsubscribe: String,
    #[serde(skip)]
    pub(crate) app: Option<String>,
    #[serde(skip)]
    pub(crate) items: Vec<Item>,
}

/// One event of a digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Item {
    subject: String,
    short: String,
    action: String,
    link: Option<String>,
}

/// The parts of an e-mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// The part in plain text.
    pub text: String,
    /// The part in HTML.
    pub html: String,
}

impl Templates {
    /// Reads the operator's folder, if there is one; `language` is for people whose own has no templates.
    ///
    /// # Errors
    ///
    /// When a file of the folder is wrong: each is rendered once to find out.
    pub fn load(folder: Option<&Path>, language: &str) -> Result<Self, TemplateError> {
        let shipped = shipped();
        let mut own = shipped.clone();
        let mut languages: BTreeSet<String> = files::LANGUAGES.map(str::to_owned).into();
        let files = folder.map(files::read).transpose()?.unwrap_or_default();
        for file in &files {
            languages.extend(file.language.clone());
            let added = own.add_template_owned(file.name.clone(), file.source.clone());
            added.map_err(|source| file.error(source))?;
        }
        if !languages.contains(&language.to_ascii_lowercase()) {
            return Err(TemplateError::Language(language.to_owned()));
        }
        let templates = Self {
            own,
            shipped,
            languages,
            language: language.to_ascii_lowercase(),
        };
        for file in &files {
            templates.check(file)?;
        }
        Ok(templates)
    }

    /// Returns what a message says.
    pub fn words(&self, order: &NoticeOrder) -> Words {
        self.rendered(order, |env, language| {
            let mut words = words(env, language, order)?;
            if let Some(text) = whole(env, language, order, "subject", &words)? {
                words.subject = one_line(&text, SUBJECT);
            }
            if let Some(text) = whole(env, language, order, "txt", &words)?
                && order.channel != Channel::Email
            {
                words.short = text.trim().to_owned();
            }
            Ok(words)
        })
    }

    /// Returns the parts of an e-mail.
    pub fn letter(&self, order: &NoticeOrder) -> Letter {
        self.rendered(order, |env, language| {
            let words = words(env, language, order)?;
            let subject = match whole(env, language, order, "subject", &words)? {
                Some(subject) => one_line(&subject, SUBJECT),
                None => words.subject.clone(),
            };
            let part = |part: &str, common: &str| match whole(env, language, order, part, &words)? {
                Some(text) => Ok(text),
                None => env.get_template(common)?.render(frame(order, &words)),
            };
            Ok(Letter {
                subject,
                text: part("txt", "email.txt")?,
                html: part("html", "email.html")?,
            })
        })
    }

    /// Renders with the operator's templates in the person's language, and with those that are shipped if they fail.
    fn rendered<T: Default>(
        &self,
        order: &NoticeOrder,
        render: impl Fn(&Environment<'static>, &str) -> Result<T, minijinja::Error>,
    ) -> T {
        let language = self.language_of(&order.language, order.kind);
        match render(&self.own, &language) {
            Ok(rendered) => return rendered,
            Err(error) => tracing::warn!(
                template = error.name().unwrap_or_default(),
                detail = %error.kind(),
                "Template of a message fails, the shipped one is used"
            ),
        }
        let language = files::LANGUAGES
            .into_iter()
            .find(|shipped| *shipped == language)
            .unwrap_or(files::LANGUAGES[0]);
        render(&self.shipped, language).unwrap_or_default()
    }

    /// Returns the language that a message is written in.
    fn language_of(&self, wanted: &str, kind: NotificationKind) -> String {
        let wanted = wanted.to_ascii_lowercase().replace('_', "-");
        let primary = wanted.split('-').next().unwrap_or_default().to_owned();
        [wanted, primary, self.language.clone()]
            .into_iter()
            .find(|language| {
                self.languages.contains(language)
                    && self
                        .own
                        .get_template(&format!("{language}/{kind}.txt"))
                        .is_ok()
            })
            .unwrap_or_else(|| files::LANGUAGES[0].to_owned())
    }

    /// Renders everything that a file has a part in, without facts.
    fn check(&self, file: &files::File) -> Result<(), TemplateError> {
        let language = file.language.as_deref().unwrap_or(&self.language);
        for kind in NotificationKind::ALL {
            if self
                .own
                .get_template(&format!("{language}/{kind}.txt"))
                .is_err()
            {
                continue;
            }
            for channel in Channel::ALL {
                for events in [0, 2] {
                    let order = facts::blank(kind, channel, events);
                    self.try_all(language, &order)
                        .map_err(|error| file.error(error))?;
                }
            }
        }
        Ok(())
    }

    fn try_all(&self, language: &str, order: &NoticeOrder) -> Result<(), minijinja::Error> {
        let words = words(&self.own, language, order)?;
        for part in files::PARTS {
            whole(&self.own, language, order, part, &words)?;
        }
        for common in ["email.txt", "email.html"] {
            let template = self.own.get_template(common)?;
            template.render(frame(order, &words))?;
        }
        Ok(())
    }
}

impl Default for Letter {
    /// Something that can be sent although nothing can be rendered.
    fn default() -> Self {
        Self {
            subject: String::from("Notice"),
            text: String::new(),
            html: String::new(),
        }
    }
}

fn shipped() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_undefined_behavior(UndefinedBehavior::Chainable);
    env.set_fuel(Some(FUEL));
    env.set_auto_escape_callback(|name| {
        if name.ends_with(".html") {
            AutoEscape::Html
        } else {
            AutoEscape::None
        }
    });
    env.add_filter("when", when::when);
    for (name, source) in files::SHIPPED {
        env.add_template(name, source)
            .expect("a test renders every shipped template");
    }
    env
}

/// Renders the blocks of the kind's file, of the digest's if there are several events, and of the frame.
fn words(
    env: &Environment<'static>,
    language: &str,
    order: &NoticeOrder,
) -> Result<Words, minijinja::Error> {
    let facts: Vec<Facts> = order.events.iter().map(Facts::new).collect();
    let first = facts.first().cloned().unwrap_or_default();
    let file = format!("{language}/{}.txt", order.kind);
    let mut items = Vec::new();
    for facts in facts.iter().take(MAX_ITEMS) {
        let context = facts.context(order, language, context! {});
        let [subject, _text, short, action] = blocks(env, &file, context)?;
        items.push(Item {
            subject: one_line(&subject, SUBJECT),
            short,
            action,
            link: facts.link.clone(),
        });
    }
    let frame = first.context(order, language, context! {});
    let [greeting, why, unsubscribe, stop] =
        named(env, &fall_back(env, language, "frame"), FRAME, frame)?;
    let mut words = Words {
        language: language.to_owned(),
        stop,
        greeting,
        why,
        unsubscribe,
        app: first.app.clone(),
        ..Words::default()
    };
    let [subject, text, short, action] = if order.events.len() > 1 {
        let latest = items.last().map(|item| item.short.clone());
        let count = order.events.len();
        let more = context! { count, latest };
        let digest = fall_back(env, language, "digest");
        words.items = items;
        let one = facts.windows(2).all(|pair| pair[0].link == pair[1].link);
        words.link = first.link.clone().filter(|_| one);
        blocks(env, &digest, first.context(order, language, more))?
    } else {
        words.link.clone_from(&first.link);
        blocks(env, &file, first.context(order, language, context! {}))?
    };
    let words = Words {
        subject: one_line(&subject, SUBJECT),
        text,
        short,
        action,
        ..words
    };
    if !first.is_test {
        return Ok(words);
    }
    let frame = fall_back(env, language, "frame");
    let context = first.context(order, language, context! {});
    // An operator's own frame may be from before there was this block.
    let said = named(env, &frame, ["test"], context);
    let [said] = said.unwrap_or_else(|_missing| ["Test".to_owned()]);
    Ok(Words {
        subject: one_line(&format!("Test: {}", words.subject), SUBJECT),
        text: format!("{said}\n\n{}", words.text),
        short: format!("Test: {}", words.short),
        ..words
    })
}

/// Renders the operator's own template for a kind and a channel, where there is one.
fn whole(
    env: &Environment<'static>,
    language: &str,
    order: &NoticeOrder,
    part: &str,
    words: &Words,
) -> Result<Option<String>, minijinja::Error> {
    let about = match order.events.len() {
        0 | 1 => order.kind.as_str(),
        _ => "digest",
    };
    let name = format!("{language}/{about}.{}.{part}", order.channel);
    match env.get_template(&name) {
        Ok(template) => template.render(frame(order, words)).map(Some),
        Err(error) if error.kind() == minijinja::ErrorKind::TemplateNotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Everything that the template of a whole part may use.
fn frame(order: &NoticeOrder, words: &Words) -> Value {
    let paragraphs: Vec<String> = words
        .text
        .split("\n\n")
        .map(str::trim)
        .filter(|paragraph| !paragraph.is_empty())
        .map(str::to_owned)
        .collect();
    let facts = order.events.first().map(Facts::new).unwrap_or_default();
    let more = context! {
        paragraphs,
        subject => &words.subject,
        greeting => &words.greeting,
        why => &words.why,
        action => &words.action,
        unsubscribe => &words.unsubscribe,
        unsubscribe_url => order.unsubscribe_url.as_deref().filter(|url| facts::is_link(url)),
        items => Value::from(Serde(words.items.clone())),
        short => &words.short,
        count => order.events.len(),
        link => &words.link,
        app => &words.app,
    };
    facts.context(order, &words.language, more)
}

/// Returns the language's file of a name, or the English one.
fn fall_back(env: &Environment<'static>, language: &str, name: &str) -> String {
    let own = format!("{language}/{name}.txt");
    if env.get_template(&own).is_ok() {
        own
    } else {
        format!("{}/{name}.txt", files::LANGUAGES[0])
    }
}

fn blocks(
    env: &Environment<'static>,
    file: &str,
    context: Value,
) -> Result<[String; 4], minijinja::Error> {
    named(env, file, BLOCKS, context)
}

fn named<const N: usize>(
    env: &Environment<'static>,
    file: &str,
    names: [&str; N],
    context: Value,
) -> Result<[String; N], minijinja::Error> {
    let mut rendered = env.get_template(file)?.render_captured(context)?;
    let mut texts = [const { String::new() }; N];
    for (text, name) in texts.iter_mut().zip(names) {
        let block = rendered.with_state_mut(|state| state.render_block(name))?;
        block.trim().clone_into(text);
    }
    Ok(texts)
}

/// Returns the id that repeats of a message share.
pub(crate) fn message_id(id: NotificationId, channel: Channel) -> String {
    format!("{id}_{channel}")
}

const BLOCKS: [&str; 4] = ["subject", "text", "short", "action"];
const FRAME: [&str; 4] = ["greeting", "why", "unsubscribe", "stop"];
/// The longest subject, in characters.
const SUBJECT: usize = 120;
/// How many events of a digest are listed.
const MAX_ITEMS: usize = 25;
/// How much work one template may be, so that a loop in it holds up nobody.
const FUEL: u64 = 100_000;
