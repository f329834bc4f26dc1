//! The fuzz targets on stable Rust: every seed, then mutations of seeds, the same in every run.
//!
//! The short form runs with all other tests. The long form goes on for `FUZZ_SECONDS` a target,
//! from another starting point each time; `fuzz/run.sh` runs it where there is no libFuzzer.

#[cfg(test)]
mod mutate;
#[cfg(test)]
mod runner;
#[cfg(test)]
mod seeds;

macro_rules! targets {
    ($($name:ident: $mutations:literal,)*) => {
        #[cfg(test)]
        mod short_form {
            $(#[test]
            fn $name() {
                crate::runner::smoke(stringify!($name), $mutations);
            })*
        }

        #[cfg(test)]
        mod long_form {
            $(#[test]
            #[ignore = "soak"]
            fn $name() {
                crate::runner::soak(stringify!($name));
            })*
        }

        #[test]
        fn every_target_is_run() {
            let named = [$(stringify!($name)),*];
            assert_eq!(tollkeep_fuzz_targets::TARGETS.map(|(name, _)| name), named);
        }
    };
}

targets! {
    admission: 4000,
    answer: 4000,
    bound: 2000,
    call: 4000,
    config: 300,
    egress: 2000,
    http2: 4000,
    path: 8000,
    payment: 1000,
    policy: 4000,
    token: 2000,
    usage: 1000,
}
