"""dmz-gateway: the words of this program, one line each.

Identity    who is asking: a canonical subject, certified; Caller is an Identity on one connection.
Asset       a device in the plant: endpoint, class, limits, unit map, declared registers.
Tag         a named, typed, scaled point of an asset. Addresses are 0-based, as on the wire.
Frame       one complete message of a protocol, parsed; never raw bytes.
Operation   what a frame wants, protocol-neutral: action, asset, target, values. A frame can hold several.
Decision    policy's answer about one operation: Allowed or Denied, with reasons. Not a boolean.
Verdict     what we do with the frame: Forward, Refuse, Sever, or Pending while something must be waited for.
Receipt     what the journal promises: Durable, Accepted or Gap.
Permit      decisions + the receipt they need; holds the bytes, works once, expires with its bundle.
Sample      a value from the plant with quality, reason and times; Released or Withheld after vetting.
Record      what the journal keeps.

bytes -> frame -> operations -> decisions -> verdict -> record -> plant -> answer checked -> record -> bytes
Read `gateway/guard/passage.py` first: every caller of the plant goes through it.
"""

__version__ = "0.1.0"
