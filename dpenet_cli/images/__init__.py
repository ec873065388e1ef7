"""A picture on disk: its pixels, bit depth, transparency, and what its file says of them.

The files in reading order; each imports only from those above it:

    formats       which formats there are, by name and by first bytes; imports nothing heavy
    picture       a picture in memory, with its metadata and how it was coded
    limits        may a picture be decoded: its file's bytes, and the user's limit
    ifd           image file directories, the structure of TIFF and of EXIF
    exif          EXIF: carried on, turned upright, without its thumbnail
    software      EXIF's Software: the programs that a picture went through
    jpeg_tables   JPEG's quantisation tables: the standard's, and as fine as a source's
    jpeg_parts    what a JPEG holds in several segments, put together
    jpeg          what a JPEG says beside its pixels
    png_chunks    the chunks of PNG files, damaged ones too
    png           what a PNG says beside its pixels
    tiff_tags     the numbers of TIFF
    tiff_reader   what a TIFF says beside its pixels
    av1           the headers of AV1 streams
    webp_avif     the headers of WebP and AVIF
    previews      small copies of the rainy picture among the metadata
    left_out      what a JPEG, PNG, WebP or BMP file holds that no result does
    tiff_left_out  the same of a TIFF file
    boxes         the same of an AVIF or HEIC file
    icc_profiles  ICC profiles
    silence       what decoders would print by themselves, kept off stderr
    pixels        decoding, turning upright, unmultiplying
    png_16_bit    the pixels of PNG files of 16 bits
    tiff_samples  TIFF files put before a decoder
    header_size   how large a picture is, from the head of its file
    decoders      the bytes of each format into a picture
    reading       `read`: a file into a `Picture`
    writers       whether what writes a format is installed
    format_limits  what each format can hold
    tiff_writer   TIFF files written
    encoders      a picture into the bytes of each format
    writing       `encode`: a `Picture` into bytes; nothing is lost, or a notice says so
    compare       before/after pictures
    panels        versions of a part side by side
    offline_page  pages that open offline, with sliders
"""
