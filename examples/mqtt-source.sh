#!/bin/sh
# What is published on an MQTT broker becomes messages to terminals, each once.
#
#   mqtt-source.sh FILTER SEND-OPTIONS...
#   mqtt-source.sh 'alarm/#' --server centre.example:7480 --token-file token --to terminal:owner
#
# Environment: MQTT_HOST (localhost) and MQTT_PORT (1883); MQTT_CLIENT (ringup), by which the broker knows what it keeps
# for us while we are away; MQTT_SPOOL (./mqtt-spool), a folder of our own for what is not sent yet. What the server refuses
# for good (no such terminal, too large, not allowed) stays there as *.refused, and the next is sent.
# The short form, which loses a message that cannot be sent at once:
#   mosquitto_sub -t alarm -C 1 -N | ringup send --token-file token --to terminal:owner -
set -eu
filter=$1
shift
spool=${MQTT_SPOOL:-mqtt-spool}
mkdir -p "$spool"
count=0
while :; do
    # Under one key the server takes it once, however often it is sent.
    for message in "$spool"/*.message; do
        [ -e "$message" ] || continue
        while :; do
            code=0
            ringup send --idempotency-key "$(basename "$message" .message)" "$@" "$message" || code=$?
            case $code in
            0)
                rm "$message"
                break
                ;;
            2) exit 2 ;; # wrong arguments: nothing could ever be sent
            3)
                echo "mqtt-source: given up, kept as ${message%.message}.refused" >&2
                mv "$message" "${message%.message}.refused"
                break
                ;;
            *) sleep 60 ;; # not reached, or too much waits already; the message above says which
            esac
        done
    done
    # One at a time: with a session that lasts (-c) and one message on the way, the broker keeps the next until we are back.
    mosquitto_sub -h "${MQTT_HOST:-localhost}" -p "${MQTT_PORT:-1883}" -i "${MQTT_CLIENT:-ringup}" -V mqttv5 -c -q 1 \
        -D connect receive-maximum 1 -t "$filter" -C 1 -N >"$spool/part" || { sleep 10; continue; }
    count=$((count + 1))
    mv "$spool/part" "$spool/$(date +%s)-$$-$count.message"
done
