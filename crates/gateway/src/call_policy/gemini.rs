//! Where the parameters that policies limit stand in Gemini's calls. A rule is one on every spelling
//! (LLM-34): on the name that all dialects share, and on both spellings of Gemini's own.

use super::OUTPUT_SPELLINGS;
use tollkeep_llm::gemini::spellings;

/// Places that one rule is looked for at, at most.
const PLACES_MAX: usize = 64;
/// The object that most of what other dialects have at the top stands in.
const SETTINGS: &str = "generationConfig";

/// What is called so in other dialects, and told by the path here.
pub(super) const IN_PATH: [&str; 2] = ["model", "stream"];

/// The places of what stands in other dialects, or here, at this one.
pub(super) fn places(segments: &[String]) -> Vec<Vec<String>> {
    let mut places = Vec::new();
    if let [name] = segments {
        if IN_PATH.contains(&name.as_str()) {
            return places;
        }
        if let Some(own) = own_name(name) {
            add_spellings(&mut places, &[SETTINGS.to_owned(), own.to_owned()]);
        }
    }
    add_spellings(&mut places, segments);
    places
}

fn own_name(name: &str) -> Option<&'static str> {
    if OUTPUT_SPELLINGS.contains(&name) {
        return Some("maxOutputTokens");
    }
    let own = match name {
        "n" => "candidateCount",
        "temperature" => "temperature",
        "top_p" => "topP",
        "top_k" => "topK",
        "seed" => "seed",
        "stop" => "stopSequences",
        "presence_penalty" => "presencePenalty",
        "frequency_penalty" => "frequencyPenalty",
        _ => return None,
    };
    Some(own)
}

/// Adds a place in all the spellings of its segments.
fn add_spellings(places: &mut Vec<Vec<String>>, segments: &[String]) {
    let mut all: Vec<Vec<String>> = vec![Vec::new()];
    for segment in segments {
        let names = spellings(segment);
        let is_many = all.len().saturating_mul(names.len()) > PLACES_MAX;
        let names = names.get(..if is_many { 1 } else { names.len() });
        let names = names.unwrap_or_default();
        let longer = all.iter().flat_map(|begun| {
            names.iter().map(|name| {
                let mut place = begun.clone();
                place.push(name.clone());
                place
            })
        });
        all = longer.collect();
    }
    places.extend(all);
}

#[cfg(test)]
mod tests {
    use super::*;

    // LLM-34
    #[test]
    fn a_rule_is_one_on_every_spelling_of_its_parameter() {
        let told = |pointer: &str| {
            let segments: Vec<String> = pointer.split('/').map(str::to_owned).collect();
            let places = places(&segments).into_iter();
            places.map(|place| place.join("/")).collect::<Vec<_>>()
        };
        for (pointer, want) in [
            ("model", vec![]),
            ("stream", vec![]),
            ("tools", vec!["tools"]),
            (
                "temperature",
                vec![
                    "generationConfig/temperature",
                    "generation_config/temperature",
                    "temperature",
                ],
            ),
            (
                "max_tokens",
                vec![
                    "generationConfig/maxOutputTokens",
                    "generationConfig/max_output_tokens",
                    "generation_config/maxOutputTokens",
                    "generation_config/max_output_tokens",
                    "max_tokens",
                    "maxTokens",
                ],
            ),
            (
                "generation_config/topK",
                vec![
                    "generation_config/topK",
                    "generation_config/top_k",
                    "generationConfig/topK",
                    "generationConfig/top_k",
                ],
            ),
        ] {
            assert_eq!(told(pointer), want, "{pointer}");
        }
        let deep = vec!["aB".to_owned(); 40];
        assert_eq!(places(&deep).len(), PLACES_MAX);
    }
}
