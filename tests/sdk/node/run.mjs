// Runs the official Node clients against a running gateway.
//
// The environment variable TOLLKEEP_DEMO holds the line of `tollkeep demo --json`, TOLLKEEP_SDK_CACHE
// the folder that setup.sh filled. With `--direct` the target is the sandbox upstream itself and only
// `data_url` is read.

import "./openai.mjs";
import "./anthropic.mjs";
