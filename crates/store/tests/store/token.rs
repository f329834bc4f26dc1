//! Access tokens: making, finding, listing, revoking, rotating.

use crate::world::{DAY, HOUR, SERVICE, World, conflict, digest, first, grants, secret};
use std::future::poll_fn;
use std::num::{NonZeroU32, NonZeroU64};
use std::pin::pin;
use std::task::Poll;
use tollkeep_store::{
    Bindings, CallLimits, Conflict, NewProject, NewToken, OwnRotation, Rotation, Standing,
    StoreError, Suspender, Switch, TokenFilter, TokenState,
};
use tollkeep_types::{TokenId, WallMillis};

const fn rotation(text: u8, overlap_ms: u64, expires_at: Option<WallMillis>) -> RotationTo {
    RotationTo {
        text,
        overlap_ms,
        expires_at,
    }
}

struct RotationTo {
    text: u8,
    overlap_ms: u64,
    expires_at: Option<WallMillis>,
}

impl From<RotationTo> for Rotation {
    fn from(to: RotationTo) -> Self {
        Self {
            secret: secret(to.text),
            overlap_ms: to.overlap_ms,
            expires_at: to.expires_at,
        }
    }
}

#[tokio::test]
async fn a_token_comes_back_as_it_was_made() {
    let world = World::new().await;
    let new = NewToken {
        idle_ttl_ms: Some(HOUR),
        max_requests: NonZeroU64::new(17),
        limits: CallLimits {
            burst: NonZeroU32::new(3),
            ..CallLimits::default()
        },
        bindings: Bindings {
            ips: vec![
                "10.0.0.0/8".parse().unwrap(),
                "2001:db8::/32".parse().unwrap(),
            ],
            origins: vec!["https://a.example".to_owned()],
            headers: [(
                "X-User".to_owned(),
                vec!["alice".to_owned(), "b*".to_owned()],
            )]
            .into(),
            methods: vec!["POST".to_owned()],
            routes: vec!["/v1/chat".to_owned()],
            models: vec!["gpt-*".to_owned()],
        },
        metadata: [("team".to_owned(), "a \"b\" 日本".to_owned())].into(),
        owner: "Ada".to_owned(),
        ..world.new_token(1).await
    };
    let made = world
        .store
        .create_token(SERVICE, new.clone())
        .await
        .unwrap();
    assert_eq!(made.bindings, new.bindings);
    assert_eq!((made.state, made.request_count), (TokenState::Active, 0));
    let world = world.restart().await;
    assert_eq!(world.store.token(SERVICE, made.id).await, Ok(made.clone()));
    let live = world.live(1).unwrap();
    assert_eq!((live.id, live.project.id), (made.id, made.project_id));
    assert_eq!(&*live.hint, made.secret.hint);
    assert_eq!(live.bindings, made.bindings);
    assert_eq!(live.limits(), made.limits);
    assert_eq!(live.lineage.id, made.lineage);
    let missing = TokenId::from_bytes([9; 16]);
    assert_eq!(
        world.store.token(SERVICE, missing).await,
        Err(StoreError::NotFound)
    );
}

#[tokio::test]
async fn a_token_inherits_the_limits_of_its_project() {
    let world = World::new().await;
    let limits = CallLimits {
        requests_per_second: NonZeroU32::new(5),
        burst: NonZeroU32::new(9),
        ..CallLimits::default()
    };
    let project = NewProject {
        name: "limited".to_owned(),
        slug: None,
        limits,
        ..NewProject::default()
    };
    let project = world.store.create_project(SERVICE, project).await.unwrap();
    let own = CallLimits {
        burst: NonZeroU32::new(2),
        ..CallLimits::default()
    };
    let new = NewToken {
        project_id: project.id,
        limits: own,
        ..world.new_token(1).await
    };
    world.store.create_token(SERVICE, new).await.unwrap();
    let want = CallLimits {
        burst: own.burst,
        ..limits
    };
    assert_eq!(world.live(1).unwrap().limits(), want);
}

#[tokio::test]
async fn a_text_belongs_to_one_token() {
    let world = World::new().await;
    world.token(1).await;
    let twice = world.new_token(1).await;
    let twice = world.store.create_token(SERVICE, twice).await;
    assert_eq!(conflict(twice), Conflict::TokenKnown);
    let nowhere = NewToken {
        project_id: tollkeep_types::ProjectId::from_bytes([9; 16]),
        ..world.new_token(2).await
    };
    let nowhere = world.store.create_token(SERVICE, nowhere).await;
    assert_eq!(nowhere, Err(StoreError::NotFound));
    assert_eq!(world.live(2).map(|token| token.id), None);
}

// ID-32
#[tokio::test]
async fn a_revoked_token_is_refused_at_once_and_after_a_restart() {
    let world = World::new().await;
    let token = world.token(1).await;
    let held = world.live(1).unwrap();
    let revoked = world
        .store
        .revoke_token(SERVICE, token.id, "leaked")
        .await
        .unwrap();
    assert!(!revoked.already);
    assert_eq!(revoked.token.state, TokenState::Revoked);
    assert_eq!(revoked.token.revoked_reason.as_deref(), Some("leaked"));
    assert_eq!(revoked.token.revoked_at, Some(world.store.now()));
    assert_eq!(world.standing(1), Some(Standing::Revoked));
    assert_eq!(
        held.standing(world.store.now()),
        Standing::Revoked,
        "seen by running calls"
    );
    world.pass(HOUR);
    let again = world
        .store
        .revoke_token(SERVICE, token.id, "other")
        .await
        .unwrap();
    assert!(again.already);
    assert_eq!(again.token, revoked.token, "twice changes nothing");
    let world = world.crash().await;
    assert_eq!(world.standing(1), None);
    let missing = TokenId::from_bytes([9; 16]);
    let missing = world.store.revoke_token(SERVICE, missing, "x").await;
    assert_eq!(missing, Err(StoreError::NotFound));
}

// ID-32
#[tokio::test]
async fn a_revoked_text_is_blocked_from_coming_back() {
    let world = World::new().await;
    let mortal = world.token(1).await;
    let eternal = NewToken {
        expires_at: None,
        ..world.new_token(2).await
    };
    let eternal = world.store.create_token(SERVICE, eternal).await.unwrap();
    for id in [mortal.id, eternal.id] {
        world
            .store
            .revoke_token(SERVICE, id, "leaked")
            .await
            .unwrap();
    }
    let mut world = world.restart().await;
    // Its record goes after 90 days; the block of the mortal one went 31 days after its making.
    for (after, want_mortal) in [(0, false), (30 * DAY, false), (91 * DAY, true)] {
        world.pass(after);
        world.store.clean().await.unwrap();
        for (text, want) in [(1, want_mortal), (2, false)] {
            let again = world.new_token(text).await;
            let again = world.store.create_token(SERVICE, again).await;
            assert_eq!(again.is_ok(), want, "text {text} after {after}");
        }
        world = world.restart().await;
    }
}

/// A caller who hangs up must not leave a revocation on disk that is not in force.
// ID-32
#[tokio::test]
async fn a_change_whose_asker_is_gone_is_still_made_whole() {
    let world = World::new().await;
    let token = world.token(1).await;
    {
        let mut asked = pin!(world.store.revoke_token(SERVICE, token.id, "leaked"));
        let pending = poll_fn(|context| Poll::Ready(asked.as_mut().poll(context).is_pending()));
        assert!(pending.await);
    }
    // Changes take turns: when this one is made, the one before has ended.
    world.store.set_meta_once("later", "1").await.unwrap();
    assert_eq!(world.standing(1), Some(Standing::Revoked));
    let record = world.store.token(SERVICE, token.id).await.unwrap();
    assert_eq!(record.state, TokenState::Revoked);
}

// ID-30
#[tokio::test]
async fn a_rotated_token_works_until_its_overlap_ends() {
    let world = World::new().await;
    let old = world.limited_token(1, 10).await;
    let ends = WallMillis(world.store.now().0 + 30 * DAY);
    let to = rotation(2, HOUR, Some(ends));
    let rotated = world
        .store
        .rotate_token(SERVICE, old.id, to.into())
        .await
        .unwrap();
    let grace = WallMillis(world.store.now().0 + HOUR);
    assert_eq!(rotated.old.state, TokenState::Rotating);
    assert_eq!(rotated.old.replaced_by, Some(rotated.new.id));
    assert_eq!(rotated.old.grace_ends_at, Some(grace));
    assert_eq!(
        (rotated.new.state, rotated.new.expires_at),
        (TokenState::Active, Some(ends))
    );
    assert_eq!(rotated.new.name, old.name);
    assert_eq!(rotated.new.max_requests, old.max_requests);
    assert_eq!(rotated.new.replaced_by, None);
    let world = world.restart().await;
    world.pass(HOUR - 1);
    assert_eq!(world.standing(1), Some(Standing::Live));
    assert_eq!(world.standing(2), Some(Standing::Live));
    world.pass(1);
    assert_eq!(
        world.standing(1),
        Some(Standing::Revoked),
        "without any job having run"
    );
    assert_eq!(world.standing(2), Some(Standing::Live));
}

// ID-30
#[tokio::test]
async fn rotating_never_refills_a_count() {
    let world = World::new().await;
    let old = world.limited_token(1, 3).await;
    assert!(grants(&world.store, &world.live(1).unwrap()).await);
    world.store.flush_usage().await.unwrap();
    assert!(grants(&world.store, &world.live(1).unwrap()).await);
    let to = rotation(2, HOUR, None);
    world
        .store
        .rotate_token(SERVICE, old.id, to.into())
        .await
        .unwrap();
    let world = world.restart().await;
    let (old, new) = (world.live(1).unwrap(), world.live(2).unwrap());
    assert!(std::sync::Arc::ptr_eq(&old.lineage, &new.lineage));
    assert!(grants(&world.store, &new).await);
    assert!(!grants(&world.store, &new).await);
    assert!(!grants(&world.store, &old).await);
}

// ID-30
#[tokio::test]
async fn a_token_is_rotated_once_and_only_while_it_works() {
    let world = World::new().await;
    let rotate = async |id, text| {
        let to = rotation(text, HOUR, None);
        world.store.rotate_token(SERVICE, id, to.into()).await
    };
    let first = world.token(1).await;
    let second = rotate(first.id, 2).await.unwrap().new;
    assert_eq!(conflict(rotate(first.id, 3).await), Conflict::TokenRotated);
    rotate(second.id, 4).await.unwrap();
    let revoked = world.token(5).await;
    world
        .store
        .revoke_token(SERVICE, revoked.id, "x")
        .await
        .unwrap();
    assert_eq!(
        conflict(rotate(revoked.id, 6).await),
        Conflict::TokenNotActive
    );
    let known = world.token(7).await;
    assert_eq!(conflict(rotate(known.id, 1).await), Conflict::TokenKnown);
    assert_eq!(conflict(rotate(known.id, 5).await), Conflict::TokenBlocked);
    assert_eq!(
        world.standing(7),
        Some(Standing::Live),
        "a refused rotation changes nothing"
    );
    assert_eq!(
        world.store.token(SERVICE, known.id).await,
        Ok(known.clone())
    );
    let expired = world.token(8).await;
    world.pass(DAY);
    assert_eq!(
        conflict(rotate(expired.id, 9).await),
        Conflict::TokenNotActive
    );
    assert_eq!(
        rotate(TokenId::from_bytes([9; 16]), 9).await,
        Err(StoreError::NotFound)
    );
    assert_eq!(world.live(9).map(|token| token.id), None);
}

// ID-31
#[tokio::test]
async fn a_holder_replaces_its_token_for_as_long_as_before_until_its_line_ends() {
    let world = World::new().await;
    let own = async |text, expires_at| {
        let new = NewToken {
            self_rotate: true,
            expires_at,
            ..world.new_token(text).await
        };
        world.store.create_token(SERVICE, new).await.unwrap()
    };
    let to = |text| OwnRotation {
        secret: secret(text),
        overlap_ms: HOUR,
        life_ms_max: 30 * DAY,
        lineage_ms_max: 60 * DAY,
    };
    let rotate = async |id, text| world.store.rotate_own_token(SERVICE, id, to(text)).await;
    let start = world.store.now().0;
    let in_a_day = Some(WallMillis(start + DAY));
    let (short, eternal) = (own(1, in_a_day).await, own(2, None).await);
    let not_own = world.token(3).await;
    assert_eq!(conflict(rotate(not_own.id, 4).await), Conflict::TokenNotOwn);
    world.pass(DAY / 2);
    let rotated = rotate(short.id, 5).await.unwrap();
    assert!(rotated.new.self_rotate);
    assert_eq!(
        rotated.new.expires_at,
        Some(WallMillis(start + DAY / 2 + DAY))
    );
    assert_eq!(
        rotated.old.grace_ends_at,
        Some(WallMillis(start + DAY / 2 + HOUR))
    );
    assert_eq!(conflict(rotate(short.id, 6).await), Conflict::TokenRotated);
    world.pass(DAY);
    assert_eq!(
        conflict(rotate(rotated.new.id, 6).await),
        Conflict::TokenNotActive
    );
    // One without an end gets one: of a life, of its line.
    let second = rotate(eternal.id, 7).await.unwrap().new;
    assert_eq!(
        second.expires_at,
        Some(WallMillis(world.store.now().0 + 30 * DAY))
    );
    world.pass(29 * DAY);
    let third = rotate(second.id, 8).await.unwrap().new;
    let line_end = WallMillis(start + 60 * DAY);
    assert_eq!(third.expires_at, Some(line_end));
    world.pass(28 * DAY);
    let fourth = rotate(third.id, 9).await.unwrap().new;
    assert_eq!(fourth.expires_at, Some(line_end), "and no later");
    assert_eq!(fourth.lineage, eternal.lineage);
    // A clock that is set back gives no more time.
    world.pass(2 * DAY);
    assert_eq!(
        conflict(rotate(fourth.id, 10).await),
        Conflict::TokenNotActive
    );
    let other = own(11, None).await;
    world.pass(60 * DAY);
    world.set_clock(world.store.now().0 - 50 * DAY);
    assert_eq!(conflict(rotate(other.id, 12).await), Conflict::LineageOver);
}

// ID-31 ID-32
#[tokio::test]
async fn a_token_that_ends_while_it_is_replaced_is_replaced_or_has_ended_and_nothing_else() {
    let world = World::new().await;
    for round in 0..20 {
        let (old, new) = (2 * round + 1, 2 * round + 2);
        let wanted = NewToken {
            self_rotate: true,
            ..world.new_token(old).await
        };
        let token = world.store.create_token(SERVICE, wanted).await.unwrap();
        let to = OwnRotation {
            secret: secret(new),
            overlap_ms: HOUR,
            life_ms_max: DAY,
            lineage_ms_max: DAY,
        };
        let (rotated, revoked) = tokio::join!(
            world.store.rotate_own_token(SERVICE, token.id, to),
            world.store.revoke_token(SERVICE, token.id, "x"),
        );
        revoked.unwrap();
        assert_eq!(world.standing(old), Some(Standing::Revoked));
        match rotated {
            Ok(_) => assert_eq!(world.standing(new), Some(Standing::Live)),
            refused => {
                assert_eq!(conflict(refused), Conflict::TokenNotActive);
                assert_eq!(world.standing(new), None);
            }
        }
    }
}

// ID-36 ID-41
#[tokio::test]
async fn a_line_is_suspended_whole_with_who_and_why_and_each_token_comes_back_as_it_was() {
    let world = World::new().await;
    let first = world.token(1).await;
    let to = rotation(2, HOUR, None);
    let rotated = world.store.rotate_token(SERVICE, first.id, to.into());
    let second = rotated.await.unwrap().new;
    let other = world.token(3).await;
    let by = Suspender {
        by: "gateway".to_owned(),
        reason: "why".to_owned(),
    };
    let suspend = async || world.store.suspend_lineage(first.lineage, by.clone()).await;
    let suspended = suspend().await.unwrap();
    assert_eq!(suspended.len(), 2);
    assert_eq!(suspend().await.unwrap().len(), 0, "again");
    for text in [1, 2] {
        assert_eq!(world.standing(text), Some(Standing::Suspended));
        assert!(world.live(text).unwrap().is_cut());
    }
    assert_eq!(world.standing(3), Some(Standing::Live));
    let world = world.restart().await;
    let kept = world.store.token(SERVICE, first.id).await.unwrap();
    assert_eq!(kept.suspended_by.as_deref(), Some("gateway"));
    assert_eq!(kept.suspended_reason.as_deref(), Some("why"));
    assert_eq!(kept.suspended_at, Some(world.store.now()));
    for (id, text, state) in [
        (first.id, 1, TokenState::Rotating),
        (second.id, 2, TokenState::Active),
    ] {
        let on = world.store.switch_token(SERVICE, id, Switch::On);
        let on = on.await.unwrap();
        assert_eq!(
            (on.state, on.suspended_by, on.suspended_at),
            (state, None, None)
        );
        assert_eq!(world.standing(text), Some(Standing::Live));
        assert!(!world.live(text).unwrap().is_cut(), "its calls go on again");
    }
    world.pass(HOUR);
    assert_eq!(
        world.standing(1),
        Some(Standing::Revoked),
        "it went on ending"
    );
    assert_ne!(other.lineage, first.lineage);
}

// ID-30
#[tokio::test]
async fn an_overlap_of_nothing_revokes_at_once_and_has_an_upper_bound() {
    let world = World::new().await;
    let old = world.token(1).await;
    let too_long = rotation(2, 30 * DAY + 1, None);
    let too_long = world
        .store
        .rotate_token(SERVICE, old.id, too_long.into())
        .await;
    assert!(matches!(too_long, Err(StoreError::Invalid(_))));
    let to = rotation(2, 0, None);
    let rotated = world
        .store
        .rotate_token(SERVICE, old.id, to.into())
        .await
        .unwrap();
    assert_eq!(rotated.old.state, TokenState::Revoked);
    assert_eq!(rotated.old.revoked_reason.as_deref(), Some("rotated"));
    assert_eq!(rotated.old.replaced_by, Some(rotated.new.id));
    assert_eq!(world.standing(1), Some(Standing::Revoked));
    assert_eq!(world.standing(2), Some(Standing::Live));
    let again = world.new_token(1).await;
    assert_eq!(
        conflict(world.store.create_token(SERVICE, again).await),
        Conflict::TokenBlocked
    );
    let longest = rotation(3, 30 * DAY, None);
    world
        .store
        .rotate_token(SERVICE, rotated.new.id, longest.into())
        .await
        .unwrap();
}

/// Ids of the tokens that a filter lets through, sorted.
async fn listed(world: &World, filter: TokenFilter) -> Vec<TokenId> {
    let page = world
        .store
        .tokens(SERVICE, filter, first(100))
        .await
        .unwrap();
    sorted(page.rows.iter().map(|row| row.id))
}

fn sorted(ids: impl IntoIterator<Item = TokenId>) -> Vec<TokenId> {
    let mut ids: Vec<_> = ids.into_iter().collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_list_can_be_that_of_one_project() {
    let world = World::new().await;
    let other = NewProject {
        name: "other".to_owned(),
        ..NewProject::default()
    };
    let other = world.store.create_project(SERVICE, other).await.unwrap();
    let own = world.token(1).await;
    let foreign = NewToken {
        project_id: other.id,
        ..world.new_token(2).await
    };
    let foreign = world.store.create_token(SERVICE, foreign).await.unwrap();
    let of = |project| TokenFilter {
        project,
        only_live: false,
    };
    assert_eq!(listed(&world, of(None)).await, sorted([own.id, foreign.id]));
    assert_eq!(listed(&world, of(Some(own.project_id))).await, [own.id]);
    assert_eq!(listed(&world, of(Some(other.id))).await, [foreign.id]);
    assert_eq!(world.project().await.token_count, 1);
}

#[tokio::test]
async fn a_list_can_leave_out_what_can_not_be_used() {
    let world = World::new().await;
    let live = world.token(1).await.id;
    let revoked = world.token(2).await;
    world
        .store
        .revoke_token(SERVICE, revoked.id, "x")
        .await
        .unwrap();
    let old = world.token(3).await;
    let to = rotation(4, HOUR, old.expires_at);
    let new = world
        .store
        .rotate_token(SERVICE, old.id, to.into())
        .await
        .unwrap()
        .new
        .id;
    let idle = NewToken {
        idle_ttl_ms: Some(HOUR),
        ..world.new_token(5).await
    };
    let idle = world.store.create_token(SERVICE, idle).await.unwrap().id;
    let usable = TokenFilter {
        project: None,
        only_live: true,
    };
    assert_eq!(
        listed(&world, usable).await,
        sorted([live, old.id, new, idle])
    );
    world.pass(HOUR);
    let now = world.store.now();
    assert_eq!(
        listed(&world, usable).await,
        sorted([live, new]),
        "grace and idleness over"
    );
    for id in listed(&world, TokenFilter::default()).await {
        let usable = world.store.token(SERVICE, id).await.unwrap().standing(now) == Standing::Live;
        assert_eq!(usable, id == live || id == new, "the record says the same");
    }
    world.pass(DAY);
    assert_eq!(listed(&world, usable).await, []);
}

#[tokio::test]
async fn tokens_come_in_parts_without_a_gap() {
    let world = World::new().await;
    for text in 1..=20 {
        world.token(text).await;
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = tollkeep_store::PageRequest { limit: 7, after };
        let part = world
            .store
            .tokens(SERVICE, TokenFilter::default(), page)
            .await
            .unwrap();
        seen.extend(part.rows.iter().map(|row| row.secret.digest));
        after = part.rows.last().map(|row| tollkeep_store::After {
            created_at: row.created_at,
            id: row.id,
        });
        if !part.more {
            break;
        }
    }
    assert_eq!(seen.len(), 20);
    assert!((1..=20).all(|text| seen.contains(&digest(text))));
}
