"""What the demo tells a person to try: commands to paste, with foreign tools wherever there is one."""

import shlex
from pathlib import Path

from gateway.demo.world import World

SECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Read a PLC through the gateway, as a certified operator (pymodbus over TLS)",
        (
            "client read holding 10 10",
            "client read input 0 6",
            "client --as view-1 --unit 2 read input 0 4",
        ),
    ),
    (
        "Write where policy gives no right (exception 01), then where it does",
        ("client write holding 1 1000", "client write holding 0 700", "client read holding 0 2"),
    ),
    (
        "Ask why it was refused, and what would allow it",
        (
            "gw audit search --data $D/data --kind denial",
            "gw audit show --data $D/data NUMBER   # the first column",
        ),
    ),
    (
        "Ask what would have to change, who may write, and what would be otherwise under another policy",
        (
            "client write holding 0 930",
            "gw audit search --data $D/data --decision deny --limit 1 --json   # the id of the record",
            "gw policy explain ID -c $D/gateway.yaml",
            "gw policy explain --who-may write --asset plc-1 --bundle $D/policies",
            "cp -r $D/policies $D/new && sed -i 's/max: 900/max: 650/' $D/new/data/grants.yaml",
            "gw policy replay --bundle $D/new -c $D/gateway.yaml",
            "gw policy learn --bundle $D/new -c $D/gateway.yaml -o $D/learned",
        ),
    ),
    (
        "A write that needs a second person: lea opens the vendor's window, and agrees to it, once",
        (
            "person lea windows open vendor-access --minutes 30",
            "client --as vendor-1 write holding 12 7",
            "person lea approvals list",
            "person lea approvals grant ID   # then write the same again, twice",
        ),
    ),
    (
        "Break the glass: sam is on call, and moves the valve at once; everybody sees it",
        (
            "person sam break-glass --minutes 10 --reason 'the tank runs over'",
            "client --as sam write coil 1 1",
            "person sam break-glass end",
        ),
    ),
    (
        "Only observe a listener: what is denied passes and is told; then enforce. The plant's mode",
        (
            "person pat mode listener modbus-north observe",
            "person pat mode listener modbus-north enforce",
            "person lea mode plant maintenance; person lea mode show",
        ),
    ),
    (
        "Roll out policy, on trial: it goes back by itself unless confirmed",
        (
            "person pat policy activate $D/new --confirm-within 5m",
            "person pat policy confirm; person pat policy rollback --list",
        ),
    ),
    (
        "Come without a certificate (fatal alert), and without a role (exception 01)",
        (
            "openssl s_client -connect 127.0.0.1:{modbus} -ign_eof </dev/null 2>&1 | grep -i alert",
            "client --as bare-1 read holding 10 1",
        ),
    ),
    (
        "Over OPC UA: read, write within limits and beyond them, call a method, watch a value (asyncua)",
        (
            "opcua read Tank.Level; opcua read Tank.Recipe",
            "opcua write Tank.LevelSetpoint 70; opcua write Tank.LevelSetpoint 97",
            "opcua call Tank.StartBatch 2; opcua call Tank.ResetTotal",
            "opcua watch Tank.Level 5",
            "tail -n 3 $D/seen/plc-2     # what the server itself was asked",
            "gw audit search --data $D/data --tag plc-2.level_sp --action write     # old and new value",
            "person pat tags browse plc-2; person pat tags probe plc-2.level",
            "# a client of your own: opc.tcp://localhost:{opcua}/plc-2, docs/guides/opcua-certificates.md",
        ),
    ),
    (
        "Values in IT, with unit, quality and time",
        (
            "it https://127.0.0.1:{https}/api/v1/tags/plc-1.level",
            "it https://127.0.0.1:{https}/api/v1/tags",
            "curl -sS --cacert $D/pki/root/ca.pem https://127.0.0.1:{https}/api/v1/tags   # no certificate",
        ),
    ),
    (
        "Values over MQTT",
        ("mosquitto_sub -V mqttv5 -p {broker} --cafile $D/pki/root/ca.pem {me} -t 'acme/#' -t 'dmz/#' -v",),
    ),
    (
        "Change what is allowed while it runs: delete the grant, save, and write again",
        ("${{EDITOR:-vi}} $D/policies/data/grants.yaml        # operator-level-setpoint",),
    ),
    (
        "Revoke the operator: its connections end within a second",
        ("gw pki revoke --dir $D/pki --zone plant --name hmi-1",),
    ),
    (
        "See how it is, and prove that the log is whole",
        ("gw status -c $D/gateway.yaml", "gw audit verify --data $D/data --vkey $D/log.vkey"),
    ),
)
"Title, commands. `client`, `gw` and `it` are defined in the first block that is printed; {…} are filled in."


def what_to_try(world: World, *, kept: bool = False) -> str:
    """The text, ready to print."""
    python = shlex.quote(world.facts()["python"])
    root = shlex.quote(str(Path(__file__).resolve().parent.parent.parent))
    me = "$D/pki/it/issued/historian-1"
    pair = "--cert $D/pki/plant/issued/$who.pem --key $D/pki/plant/issued/$who.key"
    admin = f"--gateway https://localhost:{world.ports['admin']} --ca $D/pki/root/ca.pem {pair}"
    lines = [
        "The gateway is up. In another terminal, paste this first, then what you like:",
        "",
        f"    D={shlex.quote(str(world.folder))}",
        f'    gw() {{ PYTHONPATH={root} {python} -m gateway "$@"; }}',
        f'    client() {{ PYTHONPATH={root} {python} -m gateway.demo.client --demo "$D" "$@"; }}',
        f'    opcua() {{ PYTHONPATH={root} {python} -m gateway.demo.opcua_client --demo "$D" "$@"; }}',
        f'    person() {{ local who=$1; shift; gw "$@" {admin}; }}',
        f'    it() {{ curl -sS --cacert $D/pki/root/ca.pem --cert {me}.pem --key {me}.key "$@"; echo; }}',
    ]
    for title, commands in SECTIONS:
        if "MQTT" in title and not world.broker:
            lines += ["", "  skipped: MQTT (no mosquitto is installed)"]
            continue
        if "OPC UA" in title and not world.opcua:
            lines += ["", "  skipped: OPC UA (asyncua is not installed)"]
            continue
        lines += ["", f"  {title}"]
        lines += [
            "    " + command.format(**world.ports, me=f"--cert {me}.pem --key {me}.key")
            for command in commands
        ]
    ports = ", ".join(
        f"{name} {port}" for name, port in world.ports.items() if name != "broker" or world.broker
    )
    end = "Ctrl-C ends it; the files stay." if kept else "Ctrl-C ends and removes it all."
    lines += ["", f"Ports on 127.0.0.1: {ports}. Files: {world.folder}. {end}"]
    return "\n".join(lines)
