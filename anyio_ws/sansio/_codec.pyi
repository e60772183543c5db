# What is compiled has the types of what it stands for.
from ._pure_codec import Payload as Payload
from ._pure_codec import apply_mask as apply_mask
from ._pure_codec import decode_messages as decode_messages
from ._pure_codec import encode_frame as encode_frame
