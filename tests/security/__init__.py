"""What attackers have done to WebSocket libraries, each class of it tried on this one.

==========================================  =====================================================
Advisory                                    Module
==========================================  =====================================================
CVE-2026-48779, CVE-2026-12151              `test_tiny_fragments`, `test_fragment_count`
GHSA-frh3-6pv6-rc8j                         `test_compressed_limit`
CVE-2026-2229                               `test_window_bits`
CVE-2024-37890                              `test_header_floods`, `test_header_count`
CVE-2023-43669                              `test_header_by_the_byte`
CVE-2021-32640                              `test_header_grammars`
CVE-2026-42544                              `test_bad_bytes_in_headers`
CVE-2026-45736                              `test_buffers`
==========================================  =====================================================

Classes without one advisory of their own:

==========================================  =====================================================
Inflating bombs                             `test_inflate_bombs`
Lengths that no memory could hold           `test_huge_lengths`
Line breaks in headers that we write        `test_header_injection`
Frames that are masked, or not, wrongly     `test_masking_rule`
Reserved bits and opcodes                   `test_reserved`
Close codes and reasons that can't be       `test_close_frames`
Floods of control frames                    `test_control_floods`
What comes after the end                    `test_after_close`
Cost that grows faster than its input       `test_linear_cost`
==========================================  =====================================================

The protocol is tested without I/O, in both roles. What the connection adds (an inbox, an outbox, reading that
pauses, a server that has to live on) is tested over sockets on every backend.
"""
