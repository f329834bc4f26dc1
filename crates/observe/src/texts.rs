//! What lines of one batch have in common, kept as text: requests of one caller come in a row, and
//! many within a second.

use tollkeep_types::{LastHex, ProjectId, TimeText, TokenId};

/// What was written last. Each part is checked against what is asked for.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    pub(crate) time: TimeText,
    pub(crate) request: LastHex,
    whose: (Option<ProjectId>, Option<TokenId>),
    whose_text: Vec<u8>,
}

impl Texts {
    /// Appends the members that say whose request it is, each with a comma before it.
    #[inline]
    pub(crate) fn write_whose(
        &mut self,
        out: &mut Vec<u8>,
        project_id: Option<ProjectId>,
        token_ref: Option<TokenId>,
    ) {
        if self.whose != (project_id, token_ref) {
            self.know(project_id, token_ref);
        }
        out.extend_from_slice(&self.whose_text);
    }

    #[inline(never)]
    fn know(&mut self, project_id: Option<ProjectId>, token_ref: Option<TokenId>) {
        self.whose = (project_id, token_ref);
        let out = &mut self.whose_text;
        out.clear();
        if let Some(id) = project_id {
            out.extend_from_slice(b",\"project_id\":\"prj_");
            out.extend_from_slice(&id.hex());
            out.push(b'"');
        }
        if let Some(id) = token_ref {
            out.extend_from_slice(b",\"token_ref\":\"tid_");
            out.extend_from_slice(&id.hex());
            out.push(b'"');
        }
    }
}
