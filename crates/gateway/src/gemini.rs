//! Calls that name their model in their path, as Gemini's do: what they ask of whom.

use crate::admit::Entry;
use crate::lifecycle::Exchange;
use crate::refusal::Refusal;
use std::borrow::Cow;
use tollkeep_llm::body::CallView;
use tollkeep_llm::gemini::{self, GeminiFault, GeminiView};
use tollkeep_llm::{Dialect, Surface};
use tollkeep_policy::form;

/// What a stream is asked for without, as it is answered by events alone.
const WANTS_EVENTS: &str = "Streams are served with `?alt=sse` only.";
/// What answers are in that are no streams.
const WANTS_JSON: &str = "`alt` can be nothing but `json` here.";

/// Which model a call asks for, and how.
pub(crate) struct Named<'a> {
    pub(crate) model: Cow<'a, str>,
    pub(crate) stream: bool,
    /// The cap of output that it asks for.
    pub(crate) output_cap: Option<u64>,
    /// Answers that it asks for; 0 where it says nothing.
    pub(crate) choices: u64,
}

impl Exchange<'_> {
    /// What a call names: in its body, or in its path.
    ///
    /// # Errors
    /// 404 for a path that names no model, 400 for a body that contradicts itself or its path, and for
    /// an answer in a form that is not served.
    pub(crate) fn named<'a>(
        &'a self,
        entry: &Entry<'_>,
        surface: Surface,
        view: &'a CallView<'a>,
    ) -> Result<Named<'a>, Refusal> {
        if surface.dialect() != Dialect::Gemini {
            return Ok(Named {
                model: Cow::Borrowed(view.model.as_deref().unwrap_or_default()),
                stream: view.stream == Some(true),
                output_cap: view.output_cap,
                choices: view.choices,
            });
        }
        self.check_alt(entry, surface)?;
        let model = gemini::model_of(&self.work.path);
        let model = model.ok_or_else(|| Refusal::ModelNotFound(String::new()))?;
        let read = GeminiView::read(self.body(), &model).map_err(|fault| match fault {
            GeminiFault::Unreadable => Refusal::unreadable_body(),
            GeminiFault::Twice(_) => Refusal::DuplicateKey(fault.to_string()),
            GeminiFault::OtherModel => Refusal::UnsupportedParameter(OTHER_MODEL),
        })?;
        Ok(Named {
            model,
            stream: surface == Surface::StreamGenerate,
            output_cap: read.output_cap,
            choices: read.choices,
        })
    }

    /// The provider is always asked for events or for JSON: whoever asks for something else would get
    /// what it can't read.
    fn check_alt(&self, entry: &Entry<'_>, surface: Surface) -> Result<(), Refusal> {
        let streams = surface == Surface::StreamGenerate;
        let target = self.work.head.target.of(self.request_bytes());
        let query = entry.query().and_then(|at| target.get(at));
        let fields = form::urlencoded(query.unwrap_or_default());
        let fields = fields.map_err(|_| Refusal::BadRequest("query"))?;
        let mut alts = fields
            .iter()
            .filter(|field| matches!(&*field.name, "alt" | "$alt"))
            .map(|field| field.value.as_deref().unwrap_or_default())
            .peekable();
        let (wanted, text) = match streams {
            true => ("sse", WANTS_EVENTS),
            false => ("json", WANTS_JSON),
        };
        if (streams && alts.peek().is_none()) || alts.any(|alt| alt != wanted) {
            return Err(Refusal::UnsupportedParameter(text));
        }
        Ok(())
    }

    /// Puts the provider's own name of the model where its body names it, every other byte as it was.
    pub(crate) fn rename_gemini(&mut self, name: &str) -> Result<(), Refusal> {
        let renamed = gemini::with_model(self.body(), name).map_err(|_| Refusal::Internal)?;
        if let Some(renamed) = renamed {
            self.work.body = renamed;
            self.work.head.framing = tollkeep_http1::Framing::Chunked;
        }
        Ok(())
    }
}

const OTHER_MODEL: &str = "The body names another model than the path.";
