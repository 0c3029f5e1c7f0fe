"""Content Credentials (C2PA 2.2): a signed manifest in a picture's file that tells how it was made, and of what."""

from __future__ import annotations

import io
from typing import Any

from operators.errors import CertificateError, ValueInvalidError
from operators.marks.metadata import mime_type
from operators.marks.signing import Chain
from operators.marks.xmp import creator_tool

_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},
    # Nothing is fetched: what a picture names may lie anywhere.
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": False},
}
_PARENT = "parent"


class Credentials:
    """Signs pictures with one key, which only the library holds.

    Raises:
        CertificateError: certificate and key are not what the library takes.
    """

    def __init__(self, chain: Chain, key: bytes) -> None:
        import c2pa

        try:
            signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(chain.algorithm, chain.pem, key, None))
            self._context = c2pa.Context(c2pa.Settings.from_dict(_SETTINGS), signer)
        except c2pa.C2paError as error:
            raise CertificateError(f"this certificate can't sign: {error}", "mark.certificate") from None

    def signed(self, data: bytes, source_type: str, agent: dict[str, str], parent: bytes | None = None) -> bytes:
        """A PNG, JPEG or WebP with credentials.

        Args:
            data: the picture's file.
            source_type: IRI of how it was made.
            agent: ``name`` and, if known, ``version`` of what made it.
            parent: the file that it was made of; its own credentials, if it has some, are kept within.

        Raises:
            ValueInvalidError: it, or its parent, can't be read.
        """
        import c2pa

        made = {"digitalSourceType": source_type, "softwareAgent": agent}
        actions: list[dict[str, Any]] = [{"action": "c2pa.created", **made}]
        if parent is not None:
            opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": [_PARENT]}}
            actions = [opened, {"action": "c2pa.edited", **made}]
        name, version = creator_tool()
        manifest = {
            "claim_generator_info": [{"name": name, "version": version}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": actions}}],
        }
        target = io.BytesIO()
        try:
            with c2pa.Builder(manifest, self._context) as builder:
                if parent is not None:
                    ingredient = {"relationship": "parentOf", "label": _PARENT, "title": _PARENT}
                    builder.add_ingredient(ingredient, mime_type(parent) or _other_type(parent), io.BytesIO(parent))
                builder.sign(mime_type(data) or "", io.BytesIO(data), target)
        except c2pa.C2paError as error:
            raise ValueInvalidError(f"the picture can't be signed: {error}") from error
        return target.getvalue()


def _other_type(data: bytes) -> str:
    from PIL import Image

    from operators.images import BAD_CONTENT

    try:
        return Image.open(io.BytesIO(data)).get_format_mimetype() or ""
    except BAD_CONTENT as error:
        raise ValueInvalidError("the parent is no picture in a known format") from error
