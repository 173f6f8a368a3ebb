-- A session over the terminal's own Internet access has no line. It stood as 'internet', which may be a line's name.
UPDATE calls SET line = '' WHERE line = 'internet' AND direction = 'incoming';
