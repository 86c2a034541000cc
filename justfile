# The ways in. `just` alone lists them.
default:
    @just --list

# Format and clippy
check:
    cargo xtask test --only lint

# Everything
test:
    cargo xtask test

# The official clients; `just interop --client go`
interop *ARGS:
    cargo xtask test --only interop {{ARGS}}

# Kill -9 under load
crash ROUNDS="20":
    cargo xtask test --only crash --rounds {{ROUNDS}}

soak ROUNDS="500":
    cargo xtask soak --rounds {{ROUNDS}}

fuzz SECONDS="60":
    cargo xtask fuzz --seconds {{SECONDS}}

bench *ARGS:
    cargo xtask bench {{ARGS}}

run *ARGS:
    cargo run --release -- standalone {{ARGS}}

doc:
    cargo doc --workspace --no-deps --open
