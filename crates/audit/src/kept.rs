//! What consecutive events of one caller have in common, written once for both orders.

use crate::{Action, Actor, ActorId, Event, IpText, Outcome};
use std::net::IpAddr;
use tollkeep_observe::json;
use tollkeep_types::{ProjectId, TenantId, WallMillis, hex};

/// Everything the texts are made of.
#[derive(Clone, Copy, Eq, PartialEq)]
struct Made {
    action: Action,
    actor: Actor,
    outcome: Outcome,
    actor_id: Option<ActorId>,
    tenant_id: Option<TenantId>,
    project_id: Option<ProjectId>,
    client_ip: Option<IpAddr>,
    /// The day, where that changes how the address is written.
    day: u64,
}

/// The texts of the last event, for the next one if it is made of the same.
#[derive(Default)]
pub(crate) struct Kept {
    made: Option<Made>,
    /// In the line: from behind the timestamp up to the project.
    pub(crate) who: Vec<u8>,
    /// In the line: the address and the result.
    pub(crate) result: Vec<u8>,
    /// In the line: from the tenant to the class.
    pub(crate) class: Vec<u8>,
    /// In the canonical form: from its beginning to the address.
    pub(crate) head: Vec<u8>,
    /// In the canonical form: the project.
    pub(crate) project: Vec<u8>,
    /// In the canonical form: the tenant and the timestamp's name.
    pub(crate) tail: Vec<u8>,
}

impl Kept {
    /// HOT. Makes the texts those of `event`.
    #[inline]
    pub(crate) fn follow(&mut self, event: &Event<'_>, at: WallMillis, ip: &mut IpText) {
        let made = Made {
            action: event.action,
            actor: event.actor,
            outcome: event.outcome,
            actor_id: event.actor_id,
            tenant_id: event.tenant_id,
            project_id: event.project_id,
            client_ip: event.client_ip,
            day: ip.day(at),
        };
        if self.made != Some(made) {
            self.make(made, at, ip);
        }
    }

    #[inline(never)]
    fn make(&mut self, made: Made, at: WallMillis, ip: &mut IpText) {
        self.made = Some(made);
        for text in [&mut self.who, &mut self.result, &mut self.class] {
            text.clear();
        }
        for text in [&mut self.head, &mut self.project, &mut self.tail] {
            text.clear();
        }
        let ip = made.client_ip.and_then(|client| ip.of(client, at));
        put_id(
            &mut self.project,
            b",\"project_id\":\"prj_",
            made.project_id.map(|id| *id.bytes()),
        );

        self.who.extend_from_slice(b"\",\"action\":");
        made.action.write(&mut self.who);
        self.who.extend_from_slice(b",\"actor\":");
        made.actor.write(&mut self.who);
        self.who.extend_from_slice(&self.project);

        put_ip(&mut self.result, ip);
        self.result.extend_from_slice(b",\"result\":");
        made.outcome.write(&mut self.result);

        put_id(
            &mut self.tail,
            b",\"tenant_id\":\"ten_",
            made.tenant_id.map(|id| *id.bytes()),
        );
        self.class.extend_from_slice(&self.tail);
        self.tail.extend_from_slice(b",\"timestamp\":\"");
        put_actor_id(&mut self.class, made.actor_id);
        put_class(&mut self.class, made);

        self.head.extend_from_slice(b"{\"action\":");
        made.action.write(&mut self.head);
        self.head.extend_from_slice(b",\"actor\":");
        made.actor.write(&mut self.head);
        put_actor_id(&mut self.head, made.actor_id);
        put_class(&mut self.head, made);
        put_ip(&mut self.head, ip);
    }
}

/// Appends a member from its name, with all up to the digits, and the digits.
fn put_id(out: &mut Vec<u8>, name: &[u8], id: Option<[u8; 16]>) {
    if let Some(bytes) = id {
        out.extend_from_slice(name);
        out.extend_from_slice(&hex(&bytes));
        out.push(b'"');
    }
}

fn put_actor_id(out: &mut Vec<u8>, id: Option<ActorId>) {
    match id {
        Some(ActorId::Token(id)) => put_id(out, b",\"actor_id\":\"tid_", Some(*id.bytes())),
        Some(ActorId::ManagementKey(id)) => {
            put_id(out, b",\"actor_id\":\"mky_", Some(*id.bytes()));
        }
        Some(ActorId::Operator(id)) => put_id(out, b",\"actor_id\":\"opr_", Some(*id.bytes())),
        Some(ActorId::LocalUid(uid)) => {
            out.extend_from_slice(b",\"actor_id\":\"local:");
            json::number(out, u64::from(uid));
            out.push(b'"');
        }
        None => {}
    }
}

fn put_class(out: &mut Vec<u8>, made: Made) {
    out.extend_from_slice(b",\"class\":");
    made.action.class(made.outcome).write(out);
}

fn put_ip(out: &mut Vec<u8>, ip: Option<&[u8]>) {
    if let Some(ip) = ip {
        out.extend_from_slice(b",\"client_ip\":\"");
        out.extend_from_slice(ip);
        out.push(b'"');
    }
}
