package geminga.instance.wire;

import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.ReadableByteChannel;

/** Takes frames out of a stream of bytes. */
public final class FrameReader {
    private static final int BUFFER_BYTES = 256 << 10;

    private final ReadableByteChannel channel;
    private final ByteBuffer buffer = ByteBuffer.allocateDirect(BUFFER_BYTES).order(ByteOrder.LITTLE_ENDIAN).limit(0);
    private final int frameBytesMax;

    public FrameReader(ReadableByteChannel channel, int frameBytesMax) {
        this.channel = channel;
        this.frameBytesMax = frameBytesMax;
    }

    /** The next frame, or null where the stream ends between two frames. */
    public Frame next() throws IOException {
        while (buffer.remaining() < 5) {
            if (!fill()) {
                if (buffer.hasRemaining()) {
                    throw new EOFException("the requests end within a frame");
                }
                return null;
            }
        }
        int length = buffer.getInt();
        if (length < 1 || length > frameBytesMax) {
            throw new IOException("a frame of " + Integer.toUnsignedString(length) + " bytes");
        }
        int kind = buffer.get() & 0xff;
        byte[] body = new byte[length - 1];
        int have = 0;
        while (have < body.length) {
            if (!buffer.hasRemaining() && !fill()) {
                throw new EOFException("the requests end within a frame");
            }
            int count = Math.min(buffer.remaining(), body.length - have);
            buffer.get(body, have, count);
            have += count;
        }
        return new Frame(kind, body);
    }

    private boolean fill() throws IOException {
        buffer.compact();
        try {
            return channel.read(buffer) >= 0;
        } finally {
            buffer.flip();
        }
    }
}
