# devstack sources this: stack install, stack post-config, stack extra, unstack, clean.
# shellcheck shell=bash

OTEL_CINDER_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
OTEL_CINDER_SERVICES="c-api c-sch c-vol c-bak"

function _otel_cinder_requirements {
    local file="$OTEL_CINDER_DIR/requirements/${DEVSTACK_SERIES:-}.txt"
    if [[ ! -f "$file" ]]; then
        # devstack's master is ahead of the releases.
        file=$(find "$OTEL_CINDER_DIR/requirements" -maxdepth 1 -name '20*.txt' | sort | tail -n 1)
    fi
    echo "${OTEL_CINDER_REQUIREMENTS:-$file}"
}

function _otel_cinder_pip {
    # Not pip_install, which applies the constraints: some of them contradict each other here.
    local as="sudo"
    [[ "${GLOBAL_VENV:-}" == "True" ]] && as="env"
    $as "$(get_python_exec_prefix)/pip" "$@"
}

function _otel_cinder_drop_in {
    echo "${SYSTEMD_DIR:-/etc/systemd/system}/devstack@$1.service.d/otel-cinder.conf"
}

function install_otel_cinder {
    _otel_cinder_pip install --no-deps -r "$(_otel_cinder_requirements)" "$OTEL_CINDER_DIR"
}

function configure_otel_cinder {
    local service file
    for service in $OTEL_CINDER_SERVICES; do
        if is_service_enabled "$service"; then
            file=$(_otel_cinder_drop_in "$service")
            sudo mkdir -p "$(dirname "$file")"
            sudo tee "$file" > /dev/null <<EOF
[Service]
Environment=OTEL_CINDER_ENABLED=true
Environment=OTEL_EXPORTER_OTLP_ENDPOINT=$OTEL_CINDER_ENDPOINT
EOF
        fi
    done
    # devstack reloads systemd itself when it writes the units.
}

function start_otel_cinder_pipeline {
    case "$OTEL_CINDER_PIPELINE" in
        jaeger) make -C "$OTEL_CINDER_DIR" up ;;
        none) ;;
        *) die $LINENO "Set OTEL_CINDER_PIPELINE to jaeger or none: it is $OTEL_CINDER_PIPELINE" ;;
    esac
}

function stop_otel_cinder {
    local service file
    for service in $OTEL_CINDER_SERVICES; do
        file=$(_otel_cinder_drop_in "$service")
        sudo rm -f "$file"
        sudo rmdir --ignore-fail-on-non-empty "$(dirname "$file")" 2> /dev/null || true
    done
    if [[ "$OTEL_CINDER_PIPELINE" == "jaeger" ]]; then
        # Where docker is gone, the rest has to be undone all the same.
        make -C "$OTEL_CINDER_DIR" down || warn $LINENO "the pipeline was not stopped"
    fi
}

function cleanup_otel_cinder {
    _otel_cinder_pip uninstall -y otel-cinder || true
}

if is_service_enabled cinder; then
    case "$1 ${2:-}" in
        "stack install")
            echo_summary "Installing otel-cinder"
            install_otel_cinder
            ;;
        "stack post-config")
            echo_summary "Switching otel-cinder on"
            configure_otel_cinder
            ;;
        "stack extra")
            start_otel_cinder_pipeline
            ;;
        "unstack "*)
            stop_otel_cinder
            ;;
        "clean "*)
            stop_otel_cinder
            cleanup_otel_cinder
            ;;
    esac
fi
