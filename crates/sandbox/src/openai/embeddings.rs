//! `POST /v1/embeddings`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value, json};

use super::with_usage;
use crate::answer::{Content, Told};
use crate::ask;
use crate::embedding::{DIMENSIONS, DIMENSIONS_MAX, vector};
use crate::fault::Fault;
use crate::ids::Ids;
use crate::models;
use crate::reply::Tally;
use crate::steering::Steering;

/// Most texts in one call.
const INPUTS_MAX: usize = 2_048;

/// What an embedding call gets.
pub(crate) fn tell(body: &Map<String, Value>, _: Ids) -> Result<Told, Fault> {
    let model = models::embedder(ask::string(body, "model")?)?;
    let input = ask::member(body, "input").ok_or(Fault::Missing("input"))?;
    let inputs = inputs(input)?;
    let steered = match inputs.last() {
        Some(Input::Text(text)) => text,
        Some(Input::Tokens(_)) | None => "",
    };
    let (_, steering) = Steering::take(steered)?;
    let dimensions = dimensions(body)?;
    let base64 = match ask::member(body, "encoding_format").and_then(Value::as_str) {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => {
            return Err(Fault::Unfit {
                param: "encoding_format",
                want: "float or base64",
            });
        }
    };
    let data = inputs.iter().enumerate().map(|(index, input)| {
        let vector = vector(&input.bytes(), dimensions);
        let embedding = if base64 {
            packed(&vector).into()
        } else {
            json!(vector)
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    let tokens = inputs.iter().map(Input::tokens).sum::<usize>();
    let tokens = i64::try_from(tokens).unwrap_or(i64::MAX);
    let tally = Tally::claimed(steering.claim, tokens, 0, 0);
    let usage =
        tally.map(|tally| json!({"prompt_tokens": tally.input, "total_tokens": tally.input}));
    let answer = json!({"object": "list", "data": data.collect::<Vec<_>>(), "model": model.id});
    let content = Content::Whole(with_usage(answer, usage));
    Ok(Told { steering, content })
}

/// One thing to make a vector of.
enum Input<'a> {
    Text(&'a str),
    Tokens(&'a [Value]),
}

impl<'a> Input<'a> {
    fn of(value: &'a Value) -> Option<Self> {
        if let Some(text) = value.as_str().filter(|text| !text.is_empty()) {
            return Some(Self::Text(text));
        }
        let tokens = value.as_array().filter(|tokens| !tokens.is_empty())?;
        tokens
            .iter()
            .all(Value::is_u64)
            .then_some(Self::Tokens(tokens))
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Tokens(tokens) => json!(tokens).to_string().into_bytes(),
        }
    }

    fn tokens(&self) -> usize {
        match self {
            Self::Text(text) => text.len().div_ceil(4),
            Self::Tokens(tokens) => tokens.len(),
        }
    }
}

fn inputs(input: &Value) -> Result<Vec<Input<'_>>, Fault> {
    let unfit = || Fault::Unfit {
        param: "input",
        want: "a text, up to 2048 texts, or lists of tokens",
    };
    if let Some(single) = Input::of(input) {
        return Ok(vec![single]);
    }
    let several = input
        .as_array()
        .filter(|all| (1..=INPUTS_MAX).contains(&all.len()));
    let several = several.ok_or_else(unfit)?;
    several
        .iter()
        .map(|value| Input::of(value).ok_or_else(unfit))
        .collect()
}

fn dimensions(body: &Map<String, Value>) -> Result<u16, Fault> {
    let unfit = Fault::Unfit {
        param: "dimensions",
        want: "an integer from 1 to 4096",
    };
    let Some(wanted) = ask::count(body, "dimensions")? else {
        return Ok(DIMENSIONS);
    };
    let wanted = u16::try_from(wanted)
        .ok()
        .filter(|wanted| *wanted <= DIMENSIONS_MAX);
    wanted.ok_or(unfit)
}

/// Little-endian floats in base64, the form the vendor's own clients ask for.
fn packed(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    BASE64_STANDARD.encode(bytes)
}
