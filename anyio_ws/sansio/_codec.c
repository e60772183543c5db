/* The compiled codec: what _pure_codec.py does, and nothing that it doesn't.
 *
 * Both have the same functions with the same results, held together by tests. Not limited to Python's stable ABI:
 * that has no way to grow a bytes object, and a large message would be copied once more.
 *
 * What is never done here: judging. decode_messages takes only what can't be wrong, and leaves the first frame
 * that might be to the frame decoder, which knows what to say about it.
 *
 * Payloads are read and written through memcpy, because they may begin at any address; compilers make single
 * (and wide) moves of it.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

/* Whole text messages up to this size are unmasked on the stack. */
#define SMALL 4096

/* -- masking (RFC 6455, section 5.3) */

/* Write the XOR of data and key; offset is where in the payload data begins. out and data must not overlap. */
static void
xor_bytes(unsigned char *restrict out, const unsigned char *restrict data, Py_ssize_t size,
          const unsigned char *key, Py_ssize_t offset)
{
    unsigned char turned[8];
    uint64_t words[8], wide;
    Py_ssize_t i = 0;

    for (int j = 0; j < 8; j++) {
        turned[j] = key[(offset + j) & 3];
    }
    memcpy(&wide, turned, 8);
    /* A count that is known makes vectors of the loop even where the compiler is told to be careful (-O2). */
    for (; size - i >= 64; i += 64) {
        memcpy(words, data + i, 64);
        for (int j = 0; j < 8; j++) {
            words[j] ^= wide;
        }
        memcpy(out + i, words, 64);
    }
    for (; size - i >= 8; i += 8) {
        memcpy(words, data + i, 8);
        words[0] ^= wide;
        memcpy(out + i, words, 8);
    }
    for (; i < size; i++) {
        out[i] = data[i] ^ turned[i & 7];
    }
}

/* Give the four bytes of a masking key, or NULL for None; -1 with an exception if it is neither. */
static int
parse_key(PyObject *object, const unsigned char **key)
{
    char *bytes;
    Py_ssize_t size;

    if (object == Py_None) {
        *key = NULL;
        return 0;
    }
    if (PyBytes_AsStringAndSize(object, &bytes, &size) < 0) {
        return -1;
    }
    if (size != 4) {
        PyErr_Format(PyExc_ValueError, "a masking key has 4 bytes, not %zd", size);
        return -1;
    }
    *key = (const unsigned char *)bytes;
    return 0;
}

static int
check_count(Py_ssize_t got, Py_ssize_t least, Py_ssize_t most)
{
    if (got < least || got > most) {
        PyErr_Format(PyExc_TypeError, "%zd to %zd arguments expected, not %zd", least, most, got);
        return -1;
    }
    return 0;
}

PyDoc_STRVAR(apply_mask_doc, "apply_mask(data, key, offset=0, /)");

static PyObject *
apply_mask(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    const unsigned char *key;
    Py_ssize_t offset = 0;
    Py_buffer data;
    PyObject *result;

    if (check_count(count, 2, 3) < 0 || parse_key(args[1], &key) < 0) {
        return NULL;
    }
    if (key == NULL) {
        PyErr_SetString(PyExc_TypeError, "a masking key is bytes, not None");
        return NULL;
    }
    if (count == 3) {
        offset = PyLong_AsSsize_t(args[2]);
        if (offset == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    result = PyBytes_FromStringAndSize(NULL, data.len);
    if (result != NULL) {
        xor_bytes((unsigned char *)PyBytes_AS_STRING(result), data.buf, data.len, key, offset & 3);
    }
    PyBuffer_Release(&data);
    return result;
}

/* -- writing frames (RFC 6455, section 5.2) */

PyDoc_STRVAR(encode_frame_doc, "encode_frame(first, data, key, /)");

static PyObject *
encode_frame(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    const unsigned char *key;
    unsigned char header[14];
    Py_ssize_t width, length;
    Py_buffer data;
    PyObject *result;
    long first;

    if (check_count(count, 3, 3) < 0 || parse_key(args[2], &key) < 0) {
        return NULL;
    }
    first = PyLong_AsLong(args[0]);
    if (first == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (PyObject_GetBuffer(args[1], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    header[0] = (unsigned char)(first & 0xFF);
    if (data.len < 126) {
        header[1] = (unsigned char)data.len;
        width = 0;
    }
    else {
        width = data.len < 0x10000 ? 2 : 8;
        header[1] = width == 2 ? 126 : 127;
        for (Py_ssize_t i = 0; i < width; i++) {
            header[2 + i] = (unsigned char)((uint64_t)data.len >> (8 * (width - 1 - i)));
        }
    }
    length = 2 + width;
    if (key != NULL) {
        header[1] |= 0x80;
        memcpy(header + length, key, 4);
        length += 4;
    }
    if (data.len > PY_SSIZE_T_MAX - length) {
        result = PyErr_NoMemory();
    }
    else {
        result = PyBytes_FromStringAndSize(NULL, length + data.len);
    }
    if (result != NULL) {
        unsigned char *out = (unsigned char *)PyBytes_AS_STRING(result);
        memcpy(out, header, (size_t)length);
        if (key != NULL) {
            xor_bytes(out + length, data.buf, data.len, key, 0);
        }
        else if (data.len) {
            memcpy(out + length, data.buf, (size_t)data.len);
        }
    }
    PyBuffer_Release(&data);
    return result;
}

/* -- reading whole messages */

/* Decode text; NULL with UnicodeDecodeError if it isn't UTF-8. */
static PyObject *
make_text(const unsigned char *data, Py_ssize_t size, const unsigned char *key)
{
    unsigned char small[SMALL], *unmasked;
    PyObject *text;

    if (key == NULL) {
        return PyUnicode_DecodeUTF8((const char *)data, size, NULL);
    }
    unmasked = size <= SMALL ? small : PyMem_Malloc((size_t)size);
    if (unmasked == NULL) {
        return PyErr_NoMemory();
    }
    xor_bytes(unmasked, data, size, key, 0);
    text = PyUnicode_DecodeUTF8((const char *)unmasked, size, NULL);
    if (unmasked != small) {
        PyMem_Free(unmasked);
    }
    return text;
}

static PyObject *
make_bytes(const unsigned char *data, Py_ssize_t size, const unsigned char *key)
{
    PyObject *bytes = PyBytes_FromStringAndSize(key == NULL ? (const char *)data : NULL, size);

    if (bytes != NULL && key != NULL) {
        xor_bytes((unsigned char *)PyBytes_AS_STRING(bytes), data, size, key, 0);
    }
    return bytes;
}

/* Read a limit: None is none, and so is what no count can reach. */
static int
parse_limit(PyObject *object, Py_ssize_t *limit)
{
    int overflow;
    long long number;

    *limit = PY_SSIZE_T_MAX;
    if (object == Py_None) {
        return 0;
    }
    number = PyLong_AsLongLongAndOverflow(object, &overflow);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (overflow < 0 || (!overflow && number < 0)) {
        *limit = 0;
    }
    else if (!overflow && number < PY_SSIZE_T_MAX) {
        *limit = (Py_ssize_t)number;
    }
    return 0;
}

PyDoc_STRVAR(decode_messages_doc,
             "decode_messages(data, position, masked, max_size, budget, max_events, overhead, /)");

static PyObject *
decode_messages(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t size, position, max_size, budget, max_events, overhead;
    Py_ssize_t events = 0, produced = 0;
    PyObject *messages = NULL;
    Py_buffer data;
    int masked;

    if (check_count(count, 7, 7) < 0) {
        return NULL;
    }
    position = PyLong_AsSsize_t(args[1]);
    if (position == -1 && PyErr_Occurred()) {
        return NULL;
    }
    masked = PyObject_IsTrue(args[2]);
    if (masked < 0 || parse_limit(args[3], &max_size) < 0 || parse_limit(args[4], &budget) < 0
        || parse_limit(args[5], &max_events) < 0 || parse_limit(args[6], &overhead) < 0) {
        return NULL;
    }
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    size = data.len;
    if (position < 0 || position > size) {
        PyErr_SetString(PyExc_ValueError, "the position is outside of the data");
        goto failed;
    }
    messages = PyList_New(0);
    if (messages == NULL) {
        goto failed;
    }
    while (events < max_events && produced < budget && size - position >= 2) {
        const unsigned char *frame = (const unsigned char *)data.buf + position, *key = NULL;
        Py_ssize_t available = size - position, header = 2;
        uint64_t length = frame[1] & 0x7F;
        PyObject *message;
        int full;

        /* FIN, no reserved bit, TEXT or BINARY; masked as it must be */
        if ((frame[0] != 0x81 && frame[0] != 0x82) || (frame[1] >= 0x80) != masked) {
            break;
        }
        if (length >= 126) {
            Py_ssize_t width = length == 126 ? 2 : 8;
            header += width;
            if (available < header) {
                break;
            }
            length = 0;
            for (Py_ssize_t i = 0; i < width; i++) {
                length = length << 8 | frame[2 + i];
            }
            if (length < (width == 2 ? 126 : 0x10000)) {
                break;
            }
        }
        if (masked) {
            key = frame + header;
            header += 4;
        }
        if (length > (uint64_t)max_size || available < header
            || length > (uint64_t)(available - header)) {
            break;
        }
        message = (frame[0] == 0x81 ? make_text : make_bytes)(frame + header, (Py_ssize_t)length, key);
        if (message == NULL) {
            if (PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
                PyErr_Clear(); /* the frame decoder will find the same, and say it */
                break;
            }
            goto failed;
        }
        full = PyList_Append(messages, message);
        Py_DECREF(message);
        if (full) {
            goto failed;
        }
        events++;
        position += header + (Py_ssize_t)length;
        /* Where the sum would be more than can be counted, it is more than any budget. */
        produced = overhead > PY_SSIZE_T_MAX - produced - (Py_ssize_t)length
                       ? PY_SSIZE_T_MAX
                       : produced + (Py_ssize_t)length + overhead;
    }
    PyBuffer_Release(&data);
    return Py_BuildValue("(Nnn)", messages, position, produced);

failed:
    PyBuffer_Release(&data);
    Py_XDECREF(messages);
    return NULL;
}

/* -- a payload that arrives in parts */

typedef struct {
    PyObject_HEAD
    PyObject *buffer;   /* bytes that nobody else knows of, or NULL */
    Py_ssize_t room;    /* of buffer */
    Py_ssize_t arrived; /* of room */
    Py_ssize_t size;    /* as declared: never allocated for that reason, and never exceeded */
    int masked;
    unsigned char key[4];
} Payload;

PyDoc_STRVAR(payload_doc, "Payload(size, key, /)");

static PyObject *
payload_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    const unsigned char *key;
    PyObject *key_object;
    Py_ssize_t size;
    Payload *self;

    if (keywords != NULL && PyDict_GET_SIZE(keywords)) {
        PyErr_SetString(PyExc_TypeError, "Payload takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "nO:Payload", &size, &key_object) || parse_key(key_object, &key) < 0) {
        return NULL;
    }
    self = (Payload *)type->tp_alloc(type, 0); /* all zero */
    if (self == NULL) {
        return NULL;
    }
    self->size = size;
    if (key != NULL) {
        self->masked = 1;
        memcpy(self->key, key, 4);
    }
    return (PyObject *)self;
}

static void
payload_dealloc(PyObject *object)
{
    PyTypeObject *type = Py_TYPE(object);

    Py_CLEAR(((Payload *)object)->buffer);
    type->tp_free(object);
    Py_DECREF(type); /* instances of heap types hold it */
}

/* Make room for so many bytes in all: twice as many as are there, but no more than were declared. */
static int
payload_grow(Payload *self, Py_ssize_t needed)
{
    Py_ssize_t room = needed > self->size / 2 ? self->size : 2 * needed;

    if (self->buffer == NULL) {
        self->buffer = PyBytes_FromStringAndSize(NULL, room);
    }
    else {
        _PyBytes_Resize(&self->buffer, room); /* if that fails it leaves NULL, and frees what was there */
    }
    if (self->buffer == NULL) {
        self->room = self->arrived = 0;
        return -1;
    }
    self->room = room;
    return 0;
}

PyDoc_STRVAR(payload_add_doc, "add(data, start, end, /)");

static PyObject *
payload_add(PyObject *object, PyObject *const *args, Py_ssize_t count)
{
    Payload *self = (Payload *)object;
    Py_ssize_t size, start, end;
    unsigned char *out;
    Py_buffer data;

    if (check_count(count, 3, 3) < 0) {
        return NULL;
    }
    start = PyLong_AsSsize_t(args[1]);
    if (start == -1 && PyErr_Occurred()) {
        return NULL;
    }
    end = PyLong_AsSsize_t(args[2]);
    if (end == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (PyObject_GetBuffer(args[0], &data, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    if (start < 0 || start > end || end > data.len || end - start > self->size - self->arrived) {
        PyErr_SetString(PyExc_ValueError, "outside of the data, or more than was declared");
        goto failed;
    }
    size = end - start;
    if (size) {
        if (size > self->room - self->arrived && payload_grow(self, self->arrived + size) < 0) {
            goto failed;
        }
        out = (unsigned char *)PyBytes_AS_STRING(self->buffer) + self->arrived;
        if (self->masked) {
            xor_bytes(out, (unsigned char *)data.buf + start, size, self->key, self->arrived & 3);
        }
        else {
            memcpy(out, (char *)data.buf + start, (size_t)size);
        }
        self->arrived += size;
    }
    PyBuffer_Release(&data);
    Py_RETURN_NONE;

failed:
    PyBuffer_Release(&data);
    return NULL;
}

PyDoc_STRVAR(payload_last_doc, "last(size, /)");

static PyObject *
payload_last(PyObject *object, PyObject *number)
{
    Payload *self = (Payload *)object;
    Py_ssize_t size = PyLong_AsSsize_t(number);

    if (size == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (size < 0 || size > self->arrived) {
        PyErr_SetString(PyExc_ValueError, "more than has arrived");
        return NULL;
    }
    if (!size) {
        return PyBytes_FromStringAndSize(NULL, 0);
    }
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(self->buffer) + (self->arrived - size), size);
}

PyDoc_STRVAR(payload_take_doc, "take()");

static PyObject *
payload_take(PyObject *object, PyObject *Py_UNUSED(ignored))
{
    Payload *self = (Payload *)object;
    PyObject *result;

    if (self->buffer != NULL && self->room > self->arrived) {
        _PyBytes_Resize(&self->buffer, self->arrived);
        if (self->buffer == NULL) {
            self->room = self->arrived = 0;
            return NULL;
        }
    }
    result = self->buffer;
    self->buffer = NULL;
    self->room = self->arrived = 0;
    return result != NULL ? result : PyBytes_FromStringAndSize(NULL, 0);
}

static PyMethodDef payload_methods[] = {
    {"add", (PyCFunction)(void (*)(void))payload_add, METH_FASTCALL, payload_add_doc},
    {"last", payload_last, METH_O, payload_last_doc},
    {"take", payload_take, METH_NOARGS, payload_take_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot payload_slots[] = {
    {Py_tp_doc, (void *)payload_doc},
    {Py_tp_new, payload_new},
    {Py_tp_dealloc, payload_dealloc},
    {Py_tp_methods, payload_methods},
    {0, NULL},
};

static PyType_Spec payload_spec = {
    .name = "anyio_ws.sansio._codec.Payload",
    .basicsize = sizeof(Payload),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = payload_slots,
};

/* -- the module */

static int
codec_exec(PyObject *module)
{
    PyObject *payload = PyType_FromModuleAndSpec(module, &payload_spec, NULL);
    int failed;

    if (payload == NULL) {
        return -1;
    }
    failed = PyModule_AddType(module, (PyTypeObject *)payload);
    Py_DECREF(payload);
    return failed;
}

static PyMethodDef codec_methods[] = {
    {"apply_mask", (PyCFunction)(void (*)(void))apply_mask, METH_FASTCALL, apply_mask_doc},
    {"encode_frame", (PyCFunction)(void (*)(void))encode_frame, METH_FASTCALL, encode_frame_doc},
    {"decode_messages", (PyCFunction)(void (*)(void))decode_messages, METH_FASTCALL, decode_messages_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot codec_slots[] = {
    {Py_mod_exec, codec_exec},
    {0, NULL},
};

static struct PyModuleDef codec_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "anyio_ws.sansio._codec",
    .m_doc = "The codec of _pure_codec, compiled.",
    .m_size = 0,
    .m_methods = codec_methods,
    .m_slots = codec_slots,
};

PyMODINIT_FUNC
PyInit__codec(void)
{
    return PyModuleDef_Init(&codec_module);
}
