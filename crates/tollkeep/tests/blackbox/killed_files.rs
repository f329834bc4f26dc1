//! Gateways with a file that are killed at any moment, under load: what callers were answered stays
//! counted, once, and the rows are right after each start.

use crate::fixture::{Dice, UPSTREAM_KEY, chat, gateway};
use crate::held::{answer, body, bound, budget, sums};
use crate::races::{provider, settable};
use serde_json::json;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tollkeep_testkit::{Client, Gateway, Origin, PATIENCE, json as answer_json, wait_until};

const COST: i64 = 39;
/// So much that slices which kills cost are a small part of it.
const LIMIT: i64 = 1_000_000_000_000_000;
/// Callers with each token.
const CALLERS: usize = 3;
/// Kills of the long form, unless this variable says how many.
const KILLS: usize = 300;
pub(crate) const KILLS_VARIABLE: &str = "KILLS";
/// After so many everything has to come to rest once.
const REST_EVERY: usize = 250;
/// What nobody renews is settled after half a minute, and what nobody uses is returned.
const REST: Duration = Duration::from_secs(240);

struct World {
    _origin: Origin,
    gateway: Gateway,
    budgets: [String; 2],
    tokens: [String; 2],
    /// Calls that were answered, by token.
    answered: [i64; 2],
    kills: i64,
}

impl World {
    fn new() -> Self {
        let origin = Origin::start(|_| answer_json(&answer(COST - 30, 30)));
        let gateway = gateway(provider(&origin))
            .env("UPSTREAM_KEY", UPSTREAM_KEY)
            .set("ledger.hold_grace", "30s")
            .set("logging.level", "warn")
            .start();
        let kinds = ["strict", "lease"];
        let budgets = kinds.map(|how| {
            let made = json!({"name": how, "unit": "usd", "limit": {"nano_usd": LIMIT},
                "durability": how, "scope": {"metadata": {"how": how}}});
            budget(&gateway, &made)
        });
        let tokens = kinds.map(|how| {
            gateway.mint_token(&json!({"project": "default", "metadata": {"how": how}}))
        });
        Self {
            _origin: origin,
            gateway,
            budgets,
            tokens,
            answered: [0; 2],
            kills: 0,
        }
    }

    /// Callers call until the gateway is killed under them.
    fn kill_under_load(mut self, dice: &mut Dice) -> Self {
        let answered = [AtomicI64::new(0), AtomicI64::new(0)];
        let moment = Duration::from_millis(u64::try_from(20 + dice.below(200)).unwrap());
        std::thread::scope(|scope| {
            for (token, answered) in self.tokens.iter().zip(&answered) {
                for _ in 0..CALLERS {
                    let (address, request) = (self.gateway.data(), chat(token, &body(false)));
                    scope.spawn(move || call_until_killed(address, &request, answered));
                }
            }
            std::thread::sleep(moment);
            self.gateway.kill();
        });
        for (sum, answered) in self.answered.iter_mut().zip(answered) {
            *sum += answered.into_inner();
        }
        let (gateway, kills) = (self.gateway.restart().unwrap(), self.kills + 1);
        Self {
            gateway,
            kills,
            ..self
        }
    }

    fn check(&self) {
        for (id, answered) in self.budgets.iter().zip(self.answered) {
            let sums = sums(&self.gateway, id);
            let taken: i64 = sums.iter().sum();
            assert!(
                (answered * COST..=LIMIT).contains(&taken),
                "{answered} were answered: {sums:?}"
            );
        }
        let checked = self.gateway.cli(&["ledger", "check"]);
        assert_eq!(checked.status.code(), Some(0), "{checked:?}");
    }

    fn come_to_rest(&self) {
        let rests = |id: &str| {
            let [spent, reserved, leased] = sums(&self.gateway, id);
            (reserved == 0 && leased == 0).then_some(spent)
        };
        for (number, id) in self.budgets.iter().enumerate() {
            let spent = wait_until(REST, || rests(id));
            let spent = spent.unwrap_or_else(|| panic!("{:?}", sums(&self.gateway, id)));
            // Rows are exact, but for the call that was under way of each caller at a kill, and the one
            // before, whose end may not have been written when it was answered.
            let answered = self.answered[number];
            let unseen = self.kills * 2 * i64::try_from(CALLERS).unwrap();
            let most = answered * COST + unseen * bound(&body(false));
            assert!(
                number == 1 || spent <= most,
                "{answered} answered, {unseen} in doubt: {spent}"
            );
        }
        self.check();
    }
}

fn call_until_killed(address: std::net::SocketAddr, request: &[u8], answered: &AtomicI64) {
    let mut client = Client::connect(address);
    while client.send(request) {
        let Ok(answer) = client.answer(PATIENCE) else {
            return;
        };
        match answer.status {
            200 => answered.fetch_add(1, Ordering::SeqCst),
            503 => 0,
            other => panic!("{other}: {}", answer.text()),
        };
        if answer.closes() {
            client = Client::connect(address);
        }
    }
}

// LED-103
#[test]
fn what_was_answered_before_a_kill_under_load_is_counted_after_it() {
    let (mut world, mut dice) = (World::new(), Dice::new(21));
    for _ in 0..5 {
        world = world.kill_under_load(&mut dice);
        world.check();
    }
    assert!(world.answered.iter().all(|answered| *answered > 0));
}

// LED-74 LED-103
#[test]
#[ignore = "soak: some minutes; KILLS says how many"]
fn however_often_a_gateway_with_a_file_is_killed_nothing_is_lost_or_counted_twice() {
    let (mut world, mut dice) = (World::new(), Dice::new(22));
    for kill in 1..=settable(KILLS_VARIABLE, KILLS) {
        world = world.kill_under_load(&mut dice);
        world.check();
        if kill % REST_EVERY == 0 {
            world.come_to_rest();
        }
    }
    world.come_to_rest();
    eprintln!("{:?} calls answered", world.answered);
}
