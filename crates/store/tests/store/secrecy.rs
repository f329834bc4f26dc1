//! What a thief finds in the files: no token.

use crate::world::{HOUR, SERVICE, World, management_secret};
use std::collections::HashSet;
use tollkeep_crypto::{Keyring, SealContext, SystemEntropy, TokenHasher, mint};
use tollkeep_store::{ManagementSecret, NewManagementKey, NewToken, Role, Rotation, TokenSecret};
use tollkeep_types::{Entropy, Secret, WallMillis};

/// A needle and how it was written.
fn needles(secret: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let reversed: Vec<u8> = secret.iter().rev().copied().collect();
    let (start, end) = secret.split_at(secret.len() / 2);
    vec![
        ("raw", secret.to_vec()),
        ("hex", hex.clone().into_bytes()),
        ("upper-case hex", hex.to_uppercase().into_bytes()),
        ("reversed", reversed),
        ("first half", start.to_vec()),
        ("second half", end.to_vec()),
    ]
}

fn kept(hasher: &TokenHasher, text: &Secret) -> TokenSecret {
    TokenSecret {
        digest: hasher.hash(text.expose()),
        pepper_id: "p1".to_owned(),
        hint: "tok-AbCd****wXyZ".to_owned(),
        fingerprint: "fp_0123456789abcdef".to_owned(),
    }
}

fn minted(prefix: &str) -> Secret {
    mint::mint(prefix, None, &SystemEntropy).unwrap()
}

// ID-12 ID-13
#[tokio::test]
async fn no_file_holds_a_planted_secret() {
    let world = World::new().await;
    let mut pepper = [0; 32];
    SystemEntropy.fill(&mut pepper);
    let hasher = TokenHasher::new(&pepper);
    let place = SealContext {
        tenant: "-",
        table: "meta",
        row: "pepper",
        field: "value",
    };
    let keyring = Keyring::new("kek-1", &[7; 32]).unwrap();
    let sealed = keyring.seal(&pepper, &place, &SystemEntropy).unwrap();
    world.store.set_meta_once("pepper", &sealed).await.unwrap();
    let mut planted: Vec<Vec<u8>> = vec![pepper.to_vec()];
    for _ in 0..10 {
        let (first, second, key) = (minted("tok-"), minted("tok-"), minted("mgt-"));
        let new = NewToken {
            secret: kept(&hasher, &first),
            ..world.new_token(0).await
        };
        let token = world.store.create_token(SERVICE, new).await.unwrap();
        let to = Rotation {
            secret: kept(&hasher, &second),
            overlap_ms: HOUR,
            expires_at: None,
        };
        world
            .store
            .rotate_token(SERVICE, token.id, to)
            .await
            .unwrap();
        world
            .store
            .revoke_token(SERVICE, token.id, "leaked")
            .await
            .unwrap();
        let new = NewManagementKey {
            operator_id: None,
            name: "ops".to_owned(),
            role: Role::Owner,
            scopes: None,
            allowed_ips: Vec::new(),
            secret: ManagementSecret {
                digest: hasher.hash(key.expose()),
                ..management_secret(0)
            },
            expires_at: WallMillis::MAX,
            created_by: None,
        };
        world
            .store
            .create_management_key(SERVICE, new)
            .await
            .unwrap();
        planted.extend([first, second, key].map(|text| text.expose().as_bytes().to_vec()));
    }
    let before: Vec<u8> = world.home.dump().await;
    world.store.close().await.unwrap();
    let haystack = [before, world.home.dump().await].concat();
    // The first sixteen bytes of a needle are found more easily than the whole.
    let parts: HashSet<&[u8]> = haystack.windows(16).collect();
    let holds = |needle: &[u8]| parts.contains(&needle[..16]);
    assert!(
        holds(b"fp_0123456789abcdef"),
        "the search finds what is there"
    );
    for secret in planted {
        for (name, needle) in needles(&secret) {
            assert!(!holds(&needle), "{name}");
        }
    }
}

// ID-12
#[tokio::test]
async fn a_token_is_found_by_the_hash_of_its_text() {
    let world = World::new().await;
    let hasher = TokenHasher::new(&[3; 32]);
    let text = minted("tok-");
    let new = NewToken {
        secret: kept(&hasher, &text),
        ..world.new_token(0).await
    };
    let token = world.store.create_token(SERVICE, new).await.unwrap();
    let world = world.restart().await;
    let found = world
        .store
        .live()
        .find(&hasher.hash(text.expose()))
        .unwrap();
    assert_eq!(found.id, token.id);
    let other = TokenHasher::new(&[4; 32]);
    assert!(
        world
            .store
            .live()
            .find(&other.hash(text.expose()))
            .is_none()
    );
}
